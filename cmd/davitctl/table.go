// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"
)

// cell is a place in a table.
type cell struct{ text, color string }

// table is printed aligned, or its values as JSON.
type table struct {
	titles []string
	right  map[int]bool // columns of numbers
	rows   [][]cell
	noun   string // "jobs": what a row is, for the last line
}

// row adds a row of texts; what comes from outside must be printable.
func (t *table) row(cells ...any) {
	var row []cell
	for _, v := range cells {
		c, ok := v.(cell)
		if !ok {
			c = cell{text: fmt.Sprint(v)}
		}
		if c.text == "" {
			c.text = "-"
		}
		row = append(row, c)
	}
	t.rows = append(t.rows, row)
}

// print prints the table, or with --json the values that it was made of.
func (c *client) print(t *table, values any) error {
	if c.asJSON {
		return c.printJSON(values)
	}
	widths := make([]int, len(t.titles))
	lines := t.rows
	if !c.noLegend {
		var titles []cell
		for _, title := range t.titles {
			titles = append(titles, cell{title, bold})
		}
		lines = append([][]cell{titles}, t.rows...)
	}
	for _, row := range lines {
		for i, cell := range row {
			widths[i] = max(widths[i], width(cell.text))
		}
	}
	for _, row := range lines {
		if err := c.say("%s", c.style.line(row, widths, t.right)); err != nil {
			return err
		}
	}
	if c.noLegend {
		return nil
	}
	noun := t.noun
	if len(t.rows) == 1 {
		noun = strings.TrimSuffix(noun, "s")
	}
	return c.say("\n%d %s listed.", len(t.rows), noun)
}

func (s style) line(row []cell, widths []int, right map[int]bool) string {
	var b strings.Builder
	for i, c := range row {
		blanks := strings.Repeat(" ", widths[i]-width(c.text))
		switch {
		case right[i]:
			b.WriteString(blanks + s.paint(c.color, c.text))
		case i == len(row)-1:
			b.WriteString(s.paint(c.color, c.text))
		default:
			b.WriteString(s.paint(c.color, c.text) + blanks)
		}
		if i < len(row)-1 {
			b.WriteString("  ")
		}
	}
	return b.String()
}

// fields are names and values, one a line, as systemctl status has them.
type fields struct {
	names, values []string
}

func (f *fields) add(name, value string) {
	if value != "" {
		f.names, f.values = append(f.names, name), append(f.values, value)
	}
}

// print prints the fields with the names to the right of a column. A value's
// further lines, and those of an empty name, continue the one before.
func (c *client) printFields(f *fields) error {
	column := 0
	for _, name := range f.names {
		column = max(column, width(name))
	}
	for i, name := range f.names {
		label := strings.Repeat(" ", column-width(name)+2) + name + ": "
		if name == "" {
			label = strings.Repeat(" ", column+4)
		}
		for line := range strings.SplitSeq(f.values[i], "\n") {
			if err := c.say("%s%s", label, line); err != nil {
				return err
			}
			label = strings.Repeat(" ", column+4)
		}
	}
	return nil
}
