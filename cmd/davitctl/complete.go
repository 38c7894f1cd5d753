// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/spf13/cobra"

	"github.com/davit-engine/davit"
)

func newCompletion() *cobra.Command {
	shells := []string{"bash", "zsh", "fish"}
	return &cobra.Command{
		Use: "completion SHELL", Short: "Print the completion script for a shell", Args: arguments(1, 1), ValidArgs: shells,
		Long: "Print the script that completes davitctl's command lines in bash, zsh or fish. The package installs them. " +
			"They ask a running engine for the names of containers, images and jobs, and never start it.",
		RunE: func(cmd *cobra.Command, args []string) error {
			root, out := cmd.Root(), cmd.OutOrStdout()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(out, true)
			case "zsh":
				return root.GenZshCompletion(out)
			case "fish":
				return root.GenFishCompletion(out, true)
			}
			return usageErrorf("there is no completion for %q (there is for: %s)", args[0], strings.Join(shells, ", "))
		},
	}
}

// completer is what cobra asks for the words that may come next.
type completer func(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective)

// words completes one of some words.
func words(list ...string) completer {
	return func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return list, cobra.ShellCompDirectiveNoFileComp
	}
}

// completePatience bounds how long a user waits for the names after TAB.
const completePatience = time.Second

// asking makes a completer of a function that asks the engine: one that runs,
// and without bothering the user for a password.
func asking(o *options, most int, f func(c *client) []string) completer {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		directive := cobra.ShellCompDirectiveNoFileComp
		if most >= 0 && len(args) >= most {
			return nil, directive
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), completePatience)
		defer cancel()
		quiet := *o
		quiet.noAsk = true
		c, err := dial(ctx, &quiet)
		if err != nil {
			return nil, directive
		}
		defer c.close()
		c.flags = dbus.FlagNoAutoStart
		return slices.DeleteFunc(f(c), func(word string) bool {
			name, _, _ := strings.Cut(word, "\t") // a description follows
			return slices.Contains(args, name)
		}), directive
	}
}

// completeContainers completes the names of the containers in the states, or
// in any; most is how many a command takes, -1 for any number.
func completeContainers(o *options, most int, states ...string) completer {
	return asking(o, most, func(c *client) []string {
		var list []container
		if err := c.manager("ListContainers", map[string]dbus.Variant{}, uint64(0)).Store(&list); err != nil {
			return nil
		}
		var names []string
		for _, i := range list {
			if len(states) == 0 || slices.Contains(states, i.State) {
				names = append(names, printable(i.Name)+"\t"+printable(i.Image))
			}
		}
		return names
	})
}

// completeImages completes the name of an image.
func completeImages(o *options) completer {
	return asking(o, 1, func(c *client) []string {
		var list []image
		if err := c.manager("ListImages", map[string]dbus.Variant{}, uint64(0)).Store(&list); err != nil {
			return nil
		}
		var names []string
		for _, i := range list {
			for _, name := range i.References {
				names = append(names, printable(name)+"\t"+davit.ShortID(shortImage(i.ID)))
			}
		}
		return names
	})
}

// completeJobs completes the numbers of jobs in the states.
func completeJobs(o *options, states ...string) completer {
	return asking(o, -1, func(c *client) []string {
		var list []job
		if err := c.manager("ListJobs").Store(&list); err != nil {
			return nil
		}
		var ids []string
		for _, j := range list {
			if slices.Contains(states, j.State) {
				ids = append(ids, itoa(j.ID)+"\t"+printable(strings.TrimSpace(j.Type+" "+j.Subject)))
			}
		}
		return ids
	})
}
