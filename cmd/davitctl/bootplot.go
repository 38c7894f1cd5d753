// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"html"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// startAccount is what Describe tells of the engine's start.
type startAccount struct {
	Began, Ready time.Time
	Jobs         []startJob
}

type startJob struct {
	ID                       uint32
	Type, Subject            string
	Parent                   uint32
	Follow                   bool
	State, Result            string
	Enqueued, Started, Ended time.Time
	Steps                    []startStep
}

type startStep struct {
	Name       string
	Begin, End time.Time
}

func newBootPlot(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "boot-plot", Short: "Draw the engine's last start as an SVG image", Args: arguments(0, 0),
		Long: "Draw the engine's last start as an SVG image on standard output: when each of its jobs and their steps ran, as systemd-analyze plot " +
			"does for the units of a boot. With --json, print the times.",
		Example: "davitctl boot-plot >start.svg",
		RunE:    o.onBus((*client).bootPlot),
	}
}

func (c *client) bootPlot([]string) error {
	var text string
	if err := c.manager("Describe").Store(&text); err != nil {
		return fmt.Errorf("cannot ask the engine for its start: %w", err)
	}
	var engine struct {
		Version struct{ Version, KernelVersion, Arch string }
		Start   startAccount
	}
	if err := json.Unmarshal([]byte(text), &engine); err != nil {
		return fmt.Errorf("cannot read the engine's start: %w", err)
	}
	if engine.Start.Began.IsZero() {
		return fmt.Errorf("this engine does not tell of its start")
	}
	if c.asJSON {
		return c.printJSON(engine.Start)
	}
	title := strings.TrimSpace(fmt.Sprintf("Davit %s, Linux %s %s", engine.Version.Version, engine.Version.KernelVersion, engine.Version.Arch))
	return c.say("%s", newPlot(title, engine.Start).svg())
}

// The measures of the plot, in pixels.
const (
	plotWidth  = 1000 // of the time axis at least
	plotMargin = 20
	plotTop    = 96
	rowHeight  = 20
	legendRow  = 18
	charWidth  = 7 // of the font, about
	ticks      = 10
)

// bar is a row of the plot.
type plotBar struct {
	label      string
	depth      int
	begin, run time.Duration // since the start began
	end        time.Duration
	class      string // of the part that ran
	open       bool   // it still runs
	tooltip    string
}

// plot is a drawing of a start.
type plot struct {
	title string
	began time.Time
	ready time.Duration // 0: never
	until time.Duration // what the axis covers
	bars  []plotBar
}

func newPlot(title string, s startAccount) *plot {
	p := &plot{title: title, began: s.Began}
	if !s.Ready.IsZero() {
		p.ready = s.Ready.Sub(s.Began)
		p.until = p.ready
	}
	for _, j := range s.Jobs {
		for _, t := range []time.Time{j.Started, j.Ended} {
			if !t.IsZero() && (!j.Follow || !t.Equal(j.Ended)) {
				p.until = max(p.until, t.Sub(s.Began))
			}
		}
	}
	p.until += p.until/20 + time.Millisecond // room for what still runs
	p.addJobs(s.Jobs, 0, 0)
	return p
}

// addJobs adds the children of a job, each followed by its steps and its own
// children.
func (p *plot) addJobs(jobs []startJob, parent uint32, depth int) {
	for _, j := range jobs {
		// A parent that was not kept leaves its child at the top.
		orphan := depth == 0 && !slices.ContainsFunc(jobs, func(o startJob) bool { return o.ID == j.Parent })
		if j.Parent != parent && !orphan {
			continue
		}
		p.bars = append(p.bars, p.job(j, depth))
		for _, s := range j.Steps {
			p.bars = append(p.bars, plotBar{
				label: s.Name, depth: depth + 1, begin: s.Begin.Sub(p.began), run: s.Begin.Sub(p.began), end: s.End.Sub(p.began), class: "step",
			})
		}
		p.addJobs(jobs, j.ID, depth+1)
	}
}

func (p *plot) job(j startJob, depth int) plotBar {
	b := plotBar{label: strings.TrimSpace(j.Type + " " + j.Subject), depth: depth, begin: j.Enqueued.Sub(p.began), class: "done"}
	b.tooltip = fmt.Sprintf("job %d: %s", j.ID, j.State)
	if j.Result != "" {
		b.tooltip = fmt.Sprintf("job %d: %s", j.ID, j.Result)
	}
	switch {
	case j.Result == "skipped", j.Result == "canceled":
		b.class = "other"
	case j.Follow:
		b.class = "follow"
	case j.Result != "done" && j.Result != "":
		b.class = "failed"
	}
	b.run, b.end = p.until, p.until
	if !j.Started.IsZero() {
		b.run = j.Started.Sub(p.began)
	}
	b.open = j.Ended.IsZero()
	if !b.open {
		b.end = min(p.until, j.Ended.Sub(p.began))
		b.run = min(b.run, b.end)
	}
	return b
}

// x returns the place of a moment on the time axis.
func (p *plot) x(d time.Duration) float64 {
	return plotMargin + float64(max(0, d))/float64(p.until)*plotWidth
}

// svg draws the plot.
func (p *plot) svg() string {
	longest := 0
	for _, b := range p.bars {
		longest = max(longest, width(b.text())+2*b.depth)
	}
	// A label begins at its bar, or ends there: half of the plot has room for it.
	extra := max(0, longest*charWidth-plotWidth/2)
	bottom := plotTop + len(p.bars)*rowHeight
	total := [2]int{plotWidth + 2*plotMargin + extra, bottom + len(plotLegend)*legendRow + 2*plotMargin}
	var b strings.Builder
	fmt.Fprintf(&b, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %[1]d %[2]d\">\n", total[0], total[1])
	b.WriteString("<style>\n" + plotStyle + "</style>\n<rect class=\"background\" width=\"100%\" height=\"100%\"/>\n")
	ready := "The engine is not ready yet."
	if p.ready > 0 {
		ready = "Ready after " + milliseconds(p.ready) + "."
	}
	fmt.Fprintf(&b, "<text class=\"title\" x=\"%d\" y=\"28\">%s</text>\n", plotMargin, html.EscapeString(printable(p.title)))
	fmt.Fprintf(&b, "<text x=\"%d\" y=\"48\">Start of %s. %s</text>\n", plotMargin, p.began.Local().Format("2006-01-02 15:04:05.000 MST"), ready)
	p.axis(&b, bottom)
	for i, bar := range p.bars {
		p.draw(&b, bar, plotTop+i*rowHeight)
	}
	if p.ready > 0 {
		fmt.Fprintf(&b, "<line class=\"ready\" x1=\"%.2f\" y1=\"%d\" x2=\"%.2f\" y2=\"%d\"><title>ready</title></line>\n", p.x(p.ready), plotTop-8, p.x(p.ready), bottom)
	}
	for i, l := range plotLegend {
		y := bottom + plotMargin + i*legendRow
		fmt.Fprintf(&b, "<rect class=\"%s\" x=\"%d\" y=\"%d\" width=\"28\" height=\"12\"/><text x=\"%d\" y=\"%d\">%s</text>\n", l[0], plotMargin, y, plotMargin+36, y+10, l[1])
	}
	b.WriteString("</svg>")
	return b.String()
}

// plotLegend are the classes of bars and what they mean.
var plotLegend = [][2]string{
	{"waited", "job waits"},
	{"done", "job runs"},
	{"follow", "job that lasts as long as the engine"},
	{"step", "step of a job"},
	{"other", "job that had nothing to do, or was cancelled"},
	{"failed", "job that failed"},
	{"ready", "the engine is ready"},
}

const plotStyle = `text { font: 12px sans-serif; fill: #222; }
text.title { font-size: 17px; }
text.left { text-anchor: end; }
text.tick { text-anchor: middle; font-size: 10px; fill: #666; }
rect.background { fill: #fff; }
rect.waited { fill: #ddd; }
rect.done { fill: #6c9bd2; }
rect.follow { fill: #b5d3b0; }
rect.step { fill: #e2b65c; }
rect.other { fill: #b9a9cf; }
rect.failed { fill: #cf5c5c; }
rect.ready { fill: #2f8f3a; }
line.grid { stroke: #ddd; stroke-width: 1; }
line.ready { stroke: #2f8f3a; stroke-width: 2; }
`

// axis draws the grid and its times.
func (p *plot) axis(b *strings.Builder, bottom int) {
	step := tickStep(p.until)
	for t := time.Duration(0); t <= p.until; t += step {
		x := p.x(t)
		fmt.Fprintf(b, "<line class=\"grid\" x1=\"%.2f\" y1=\"%d\" x2=\"%.2f\" y2=\"%d\"/>", x, plotTop-12, x, bottom)
		fmt.Fprintf(b, "<text class=\"tick\" x=\"%.2f\" y=\"%d\">%s</text>\n", x, plotTop-18, milliseconds(t))
	}
}

// tickStep returns 1, 2 or 5 times a power of ten that divides the axis into
// about as many parts as are wanted.
func tickStep(until time.Duration) time.Duration {
	for step := time.Microsecond; ; step *= 10 {
		for _, n := range []time.Duration{1, 2, 5} {
			if n*step*ticks >= until {
				return n * step
			}
		}
	}
}

// text is the bar's label: what it is and how long it took.
func (b plotBar) text() string {
	text := printable(b.label)
	if b.open {
		return text
	}
	return text + " (" + milliseconds(b.end-b.run) + ")"
}

// draw draws a row: what it waited, what it ran, and its label on the side
// where there is room.
func (p *plot) draw(b *strings.Builder, bar plotBar, y int) {
	height := rowHeight - 6
	if bar.run > bar.begin {
		fmt.Fprintf(b, "<rect class=\"waited\" x=\"%.2f\" y=\"%d\" width=\"%.2f\" height=\"%d\"/>\n", p.x(bar.begin), y, p.x(bar.run)-p.x(bar.begin), height)
	}
	// What took no time is there, too.
	fmt.Fprintf(b, "<rect class=\"%s\" x=\"%.2f\" y=\"%d\" width=\"%.2f\" height=\"%d\"><title>%s</title></rect>\n",
		bar.class, p.x(bar.run), y, max(1, p.x(bar.end)-p.x(bar.run)), height, html.EscapeString(printable(bar.tooltip)))
	text, class, x := html.EscapeString(bar.text()), "right", p.x(bar.begin)+4
	if p.x(bar.begin) > plotMargin+plotWidth/2 {
		class, x = "left", p.x(bar.begin)-4
	}
	if bar.depth > 0 {
		text = strings.Repeat("  ", bar.depth) + text
	}
	fmt.Fprintf(b, "<text class=\"%s\" x=\"%.2f\" y=\"%d\" xml:space=\"preserve\">%s</text>\n", class, x, y+height-3, text)
}

// milliseconds shows a length of time with the digits that matter.
func milliseconds(d time.Duration) string {
	switch {
	case d >= time.Second:
		return fmt.Sprintf("%.3fs", d.Seconds())
	case d >= 10*time.Millisecond || d == 0:
		return fmt.Sprintf("%.0fms", float64(d)/float64(time.Millisecond))
	}
	return fmt.Sprintf("%.2fms", float64(d)/float64(time.Millisecond))
}
