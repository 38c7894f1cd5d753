// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// openPTY returns the two sides of a terminal (pty(7)).
func openPTY(t *testing.T) (master, tty *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip("needs /dev/ptmx: ", err)
	}
	t.Cleanup(func() { _ = master.Close() })
	number, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tty.Close() })
	return master, tty
}

func setSize(t *testing.T, tty *os.File, columns, rows int) {
	t.Helper()
	size := unix.Winsize{Col: uint16(columns), Row: uint16(rows)} //nolint:gosec // a test's sizes
	if err := unix.IoctlSetWinsize(int(tty.Fd()), unix.TIOCSWINSZ, &size); err != nil {
		t.Fatal(err)
	}
}

// screen is as much of a terminal as the bars need (ECMA-48): it wraps long
// lines and forgets what scrolls out.
type screen struct {
	columns, rows int
	cells         [][]rune
	x, y          int
}

func newScreen(columns, rows int) *screen {
	s := &screen{columns: columns, rows: rows}
	for range rows {
		s.cells = append(s.cells, []rune(strings.Repeat(" ", columns)))
	}
	return s
}

func (s *screen) newline() {
	if s.y++; s.y == s.rows {
		s.cells = append(s.cells[1:], []rune(strings.Repeat(" ", s.columns)))
		s.y--
	}
}

func (s *screen) put(r rune) {
	if s.x >= s.columns {
		s.x = 0
		s.newline()
	}
	s.cells[s.y][s.x] = r
	s.x++
}

func (s *screen) clear(y, from int) {
	for x := from; x < s.columns; x++ {
		s.cells[y][x] = ' '
	}
}

// feed shows what a program writes, after the terminal driver has made CR LF
// of LF.
func (s *screen) feed(t *testing.T, text string) {
	t.Helper()
	for text != "" {
		if rest, ok := strings.CutPrefix(text, "\x1b["); ok {
			end := strings.IndexFunc(rest, func(r rune) bool { return r >= '@' })
			if end < 0 {
				t.Fatalf("an unfinished sequence: %q", text)
			}
			n, _ := strconv.Atoi(rest[:end])
			switch rest[end] {
			case 'A':
				s.y = max(0, s.y-max(1, n))
			case 'K':
				s.clear(s.y, s.x)
			case 'J':
				s.clear(s.y, s.x)
				for y := s.y + 1; y < s.rows; y++ {
					s.clear(y, 0)
				}
			case 'm':
			default:
				t.Fatalf("an unexpected sequence: %q", text[:2+end+1])
			}
			text = rest[end+1:]
			continue
		}
		r := []rune(text)[0]
		switch r {
		case '\r':
			s.x = 0
		case '\n':
			s.newline()
		default:
			s.put(r)
		}
		text = text[len(string(r)):]
	}
}

func (s *screen) String() string {
	var b strings.Builder
	for _, line := range s.cells {
		b.WriteString(strings.TrimRight(string(line), " ") + "\n")
	}
	return strings.TrimRight(b.String(), "\n") + "\n"
}
