// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"
)

// lines shows progress line by line: each step once, and each item every ten
// percent.
type lines struct {
	w    io.Writer
	last map[lineKey]uint64 // percent, plus one
}

type lineKey struct{ id, status string }

func (l *lines) show(p progress) error {
	percent, known := p.percent()
	last, seen := l.last[lineKey{p.ID, p.Status}]
	if seen && (!known || percent+1 < last+10) && (percent < 100 || last == 101) {
		return nil
	}
	l.last[lineKey{p.ID, p.Status}] = percent + 1
	text := p.Status
	if p.ID != "" {
		text = p.ID + ": " + text
	}
	if known {
		text += fmt.Sprintf(" %d%%", percent)
	}
	if _, err := fmt.Fprintln(l.w, text); err != nil {
		return fmt.Errorf("cannot print: %w", err)
	}
	return nil
}

func (*lines) end() error { return nil }

// barInterval bounds how often bars are drawn.
const barInterval = 100 * time.Millisecond

// bars draws one line for each item, over the lines that it drew before. It
// moves the cursor only within these, leaves it at the beginning of the line
// below them, and never hides it: whatever ends the program, the terminal is
// as it should be.
type bars struct {
	w     io.Writer
	style style
	size  func() (columns, rows int)

	mu       sync.Mutex
	rows     []progress // in the order of their first appearance
	updated  []uint64   // when each was, counted in updates
	updates  uint64
	messages []string // to print for good, above the bars
	drawn    []int    // the widths of the lines on the terminal
	last     time.Time
	timer    *time.Timer // of the next drawing, when one is due
	ended    bool
	err      error
}

func newBars(w io.Writer, s style) *bars {
	return &bars{w: w, style: s, size: func() (int, int) { return sizeOf(w) }}
}

func (b *bars) show(p progress) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.updates++
	_, known := p.percent()
	if p.ID == "" && !known {
		b.messages = append(b.messages, p.Status)
	} else {
		i := slices.IndexFunc(b.rows, func(o progress) bool { return o.ID == p.ID })
		if i < 0 {
			i = len(b.rows)
			b.rows, b.updated = append(b.rows, p), append(b.updated, 0)
		}
		b.rows[i], b.updated[i] = p, b.updates
	}
	switch wait := barInterval - time.Since(b.last); {
	case wait <= 0:
		b.draw(false)
	case b.timer == nil:
		b.timer = time.AfterFunc(wait, func() {
			b.mu.Lock()
			defer b.mu.Unlock()
			if !b.ended {
				b.draw(false)
			}
		})
	}
	return b.err
}

func (b *bars) end() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.timer != nil {
		b.timer.Stop()
	}
	b.draw(true)
	b.ended = true
	return b.err
}

// draw writes the lines, at one go so that they do not flicker. Unless it is
// the last time, there are never more than the terminal is high: what has
// scrolled out cannot be written over.
func (b *bars) draw(all bool) {
	b.timer, b.last = nil, time.Now()
	columns, height := b.size()
	var out strings.Builder
	if n := b.above(columns); n > 0 {
		fmt.Fprintf(&out, "\x1b[%dA\r", n)
	}
	for _, m := range b.messages {
		out.WriteString(m + "\x1b[K\n")
	}
	b.messages = nil
	rows, more := b.rows, 0
	if limit := max(1, height-2); !all && len(rows) > limit {
		rows, more = b.latest(limit), len(rows)-limit
	}
	b.drawn = b.drawn[:0]
	layout := layoutFor(b.rows, columns-1) // the last column would wrap on some terminals
	for _, p := range rows {
		b.add(&out, b.style.bar(p, layout), width(style{utf8: b.style.utf8}.bar(p, layout)))
	}
	if more > 0 {
		text := cut(fmt.Sprintf("and %d more", more), columns-1)
		b.add(&out, b.style.paint(dim, text), width(text))
	}
	out.WriteString("\x1b[J") // what was below, when there were more lines before
	if _, err := io.WriteString(b.w, out.String()); err != nil && b.err == nil {
		b.err = fmt.Errorf("cannot print: %w", err)
	}
}

// add writes a line and remembers how wide it is.
func (b *bars) add(out *strings.Builder, line string, cells int) {
	out.WriteString(line + "\x1b[K\n")
	b.drawn = append(b.drawn, cells)
}

// above returns how many lines the cursor is below the first that was drawn:
// a terminal that has become narrower has broken them.
func (b *bars) above(columns int) int {
	n := 0
	for _, w := range b.drawn {
		n += max(1, (w+columns-1)/columns)
	}
	return n
}

// latest returns the rows that were updated last, in their order.
func (b *bars) latest(n int) []progress {
	newest := slices.Clone(b.updated)
	slices.Sort(newest)
	oldest := newest[len(newest)-n]
	var out []progress
	for i, p := range b.rows {
		if b.updated[i] >= oldest {
			out = append(out, p)
		}
	}
	return out
}

// layout says how many cells the parts of a bar's line get; 0 leaves one out.
type layout struct{ total, id, status, bar, amounts int }

const (
	statusMax  = 18 // "Verifying Checksum"
	barMin     = 8
	barMax     = 40
	amountsMax = 15 // "1023.9M/1023.9G"
)

// layoutFor divides the width of the terminal: what is drawn of an item depends
// on it, not on how far it is, so that nothing jumps.
func layoutFor(rows []progress, columns int) layout {
	l := layout{total: max(1, columns)}
	for _, p := range rows {
		l.id = max(l.id, width(p.ID))
		l.status = max(l.status, min(statusMax, width(p.Status)))
	}
	if l.id > 0 {
		l.id = min(l.id, 24) + 2
	}
	rest := columns - l.id - l.status - 1 - len("[] 100%")
	if rest >= barMin+1+amountsMax {
		l.amounts = amountsMax
		rest -= 1 + amountsMax
	}
	if rest >= barMin {
		l.bar = min(rest, barMax)
	}
	return l
}

// bar returns the line of an item.
func (s style) bar(p progress, l layout) string {
	text := ""
	if l.id > 0 {
		text = pad(cut(p.ID, l.id-2), l.id)
	}
	percent, known := p.percent()
	if !known {
		return cut(text+p.Status, l.total)
	}
	if l.bar == 0 {
		number := fmt.Sprintf(" %3d%%", percent)
		return cut(pad(cut(text+p.Status, max(0, l.total-len(number))), min(l.id+l.status, max(0, l.total-len(number))))+number, l.total)
	}
	full := int(percent) * l.bar / 100
	done, left := strings.Repeat(s.pick("█", "#"), full), strings.Repeat(s.pick("░", "-"), l.bar-full)
	text += pad(cut(p.Status, l.status), l.status) + " [" + s.paint(green, done) + left + "]" + fmt.Sprintf(" %3d%%", percent)
	if l.amounts > 0 {
		text += " " + cut(bytesText(p.ProgressDetail.Current)+"/"+bytesText(p.ProgressDetail.Total), l.amounts)
	}
	return text
}
