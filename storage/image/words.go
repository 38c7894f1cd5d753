// SPDX-License-Identifier: Apache-2.0

package image

import (
	"errors"
	"strings"

	"github.com/davit-engine/davit"
)

// words splits a line at blanks and takes away quotes and backslashes; $NAME
// and ${NAME} become the value that the environment has so far, except between
// single quotes (Dockerfile reference, "Environment replacement").
func words(c *davit.ContainerConfig, s string) ([]string, error) {
	w := wordReader{config: c, in: s}
	for w.in != "" {
		if err := w.step(true); err != nil {
			return nil, err
		}
	}
	return w.end()
}

// expand does what words does, without splitting.
func expand(c *davit.ContainerConfig, s string) (string, error) {
	w := wordReader{config: c, in: s, inWord: true}
	for w.in != "" {
		if err := w.step(false); err != nil {
			return "", err
		}
	}
	all, err := w.end()
	if err != nil {
		return "", err
	}
	return all[0], nil
}

type wordReader struct {
	config *davit.ContainerConfig
	in     string // not read yet
	quote  byte   // the quote that is open, or 0
	word   strings.Builder
	inWord bool
	words  []string
}

func (w *wordReader) step(split bool) error {
	ch := w.in[0]
	w.in = w.in[1:]
	switch {
	case split && w.quote == 0 && (ch == ' ' || ch == '\t'):
		w.flush()
		return nil
	case w.quote == 0 && (ch == '"' || ch == '\''):
		w.quote = ch
	case w.quote != 0 && ch == w.quote:
		w.quote = 0
	case ch == '\\' && w.quote != '\'' && w.in != "":
		if w.quote == '"' && !strings.ContainsRune(`"$\`, rune(w.in[0])) {
			w.word.WriteByte(ch)
		}
		w.word.WriteByte(w.in[0])
		w.in = w.in[1:]
	case ch == '$' && w.quote != '\'':
		w.inWord = true
		return w.variable()
	default:
		w.word.WriteByte(ch)
	}
	w.inWord = true
	return nil
}

func (w *wordReader) variable() error {
	var name string
	if braced, ok := strings.CutPrefix(w.in, "{"); ok {
		var found bool
		if name, w.in, found = strings.Cut(braced, "}"); !found {
			return errors.New("a ${ is not closed")
		}
		if name == "" || len(name) != nameLength(name) {
			return errors.New("only ${NAME} is supported, without modifiers")
		}
	} else {
		name = w.in[:nameLength(w.in)]
		w.in = w.in[len(name):]
	}
	if name == "" {
		w.word.WriteByte('$')
		return nil
	}
	for _, e := range w.config.Env {
		if value, ok := strings.CutPrefix(e, name+"="); ok {
			w.word.WriteString(value)
		}
	}
	return nil
}

// nameLength returns how many bytes of s a variable's name takes.
func nameLength(s string) int {
	for i, r := range s {
		letter := r == '_' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
		if !letter && (i == 0 || r < '0' || r > '9') {
			return i
		}
	}
	return len(s)
}

func (w *wordReader) flush() {
	if w.inWord {
		w.words = append(w.words, w.word.String())
	}
	w.word.Reset()
	w.inWord = false
}

func (w *wordReader) end() ([]string, error) {
	if w.quote != 0 {
		return nil, errors.New("a quote is not closed")
	}
	w.flush()
	if len(w.words) == 0 {
		return nil, errors.New("the argument is empty")
	}
	return w.words, nil
}
