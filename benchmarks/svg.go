package main

import (
	"cmp"
	"fmt"
	"html"
	"math"
	"slices"
	"strings"
)

// A chart is lines over two logarithmic axes.
type chart struct {
	File           string
	Title          string
	XLabel, YLabel string
	Series         []chartSeries
}

type chartSeries struct {
	Name   string
	Ours   bool // drawn thicker
	Dashed bool // a limit and no peer
	Colour int  // of lightColours and darkColours
	Points []point
}

type point struct{ X, Y float64 }

// The colours are told apart by colour-blind eyes too, and each has enough
// contrast with its ground; every line carries its name at its end besides.
// They are written out for each class, because not every program that shows
// pictures knows variables in styles.
var (
	lightColours = [...]string{"#0058b0", "#b34700", "#00704f", "#9c2f74", "#806000", "#7a3fb0", "#57606a", "#b3001b", "#4d6b00"}
	darkColours  = [...]string{"#58a6ff", "#ff9a56", "#3fcf9b", "#f08cc4", "#e3c04a", "#c4a0ff", "#a5afb9", "#ff8090", "#b5d35c"}
)

var chartStyle = `
text { font: 12px system-ui, sans-serif; fill: #24292f }
.title { font-weight: 600; font-size: 15px }
.ground { fill: #ffffff }
.grid { stroke: #d8dee4; stroke-width: 1 }
.axis { stroke: #57606a; stroke-width: 1 }
.line { fill: none; stroke-width: 1.75; stroke-linejoin: round }
.ours { stroke-width: 3.5 }
.dashed { stroke-dasharray: 5 4 }
` + colourStyle(lightColours[:]) + `@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 }
.ground { fill: #0d1117 }
.grid { stroke: #30363d }
.axis { stroke: #8b949e }
` + colourStyle(darkColours[:]) + "}\n"

func colourStyle(colours []string) string {
	var b strings.Builder
	for i, c := range colours {
		fmt.Fprintf(&b, ".line.s%d { stroke: %s }\n.dot.s%d, .name.s%d { fill: %s }\n", i, c, i, i, c)
	}
	return b.String()
}

const (
	chartW, chartH          = 820, 440
	plotL, plotR            = 80, 590 // names stand to the right
	plotT, plotB            = 50, 380
	nameHeight              = 15
	minRange, decadeOfTicks = 0.3, 1.5
)

// svg returns the chart as a picture that follows the reader's colour scheme.
func (c chart) svg() string {
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	xs, ys := c.scales()
	p(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-label="%s">`,
		chartW, chartH, chartW, chartH, html.EscapeString(c.Title+": "+c.YLabel+" over "+c.XLabel))
	p(`<style>%s</style>`, chartStyle)
	p(`<rect class="ground" width="%d" height="%d"/>`, chartW, chartH)
	p(`<text class="title" x="%d" y="26">%s</text>`, plotL, html.EscapeString(c.Title))
	for _, t := range ys.ticks() {
		y := ys.at(t)
		p(`<line class="grid" x1="%d" y1="%.1f" x2="%d" y2="%.1f"/>`, plotL, y, plotR, y)
		p(`<text x="%d" y="%.1f" text-anchor="end">%s</text>`, plotL-8, y+4, short(t))
	}
	for _, t := range xs.ticks() {
		x := xs.at(t)
		p(`<line class="grid" x1="%.1f" y1="%d" x2="%.1f" y2="%d"/>`, x, plotT, x, plotB)
		p(`<text x="%.1f" y="%d" text-anchor="middle">%s</text>`, x, plotB+18, short(t))
	}
	p(`<path class="axis" fill="none" d="M%d %dV%dH%d"/>`, plotL, plotT, plotB, plotR)
	p(`<text x="%d" y="%d" text-anchor="middle">%s (logarithmic)</text>`, (plotL+plotR)/2, plotB+42, html.EscapeString(c.XLabel))
	p(`<text transform="translate(20 %d) rotate(-90)" text-anchor="middle">%s (logarithmic)</text>`, (plotT+plotB)/2, html.EscapeString(c.YLabel))

	nameY := c.nameHeights(ys)
	for i, s := range c.Series {
		class := fmt.Sprintf("s%d", s.Colour%len(lightColours))
		line := "line " + class
		if s.Ours {
			line += " ours"
		}
		if s.Dashed {
			line += " dashed"
		}
		path := ""
		for j, pt := range s.Points {
			path += fmt.Sprintf("%c%.1f %.1f", "ML"[min(j, 1)], xs.at(pt.X), ys.at(pt.Y))
		}
		p(`<path class="%s" d="%s"/>`, line, path)
		for _, pt := range s.Points {
			p(`<circle class="dot %s" cx="%.1f" cy="%.1f" r="3.5"><title>%s: %s at %s</title></circle>`, class,
				xs.at(pt.X), ys.at(pt.Y), html.EscapeString(s.Name), three(pt.Y), short(pt.X))
		}
		p(`<text class="name %s" x="%d" y="%.1f">%s</text>`, class, plotR+12, nameY[i]+4, html.EscapeString(s.Name))
	}
	b.WriteString("</svg>\n")
	return b.String()
}

// nameHeights returns where the names stand: at the ends of their lines, or
// as near as the others let them.
func (c chart) nameHeights(ys scale) []float64 {
	order := make([]int, len(c.Series))
	at := make([]float64, len(c.Series))
	for i, s := range c.Series {
		order[i] = i
		at[i] = ys.at(s.Points[len(s.Points)-1].Y)
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(at[a], at[b]) })
	for k := 1; k < len(order); k++ {
		at[order[k]] = max(at[order[k]], at[order[k-1]]+nameHeight)
	}
	// What was pushed out at the bottom comes back up.
	for k, limit := len(order)-1, float64(plotB); k >= 0; k, limit = k-1, limit-nameHeight {
		at[order[k]] = min(at[order[k]], limit)
	}
	return at
}

// A scale maps the logarithms from lo to hi to pixels.
type scale struct {
	lo, hi   float64 // decimal logarithms
	from, to float64
}

func (c chart) scales() (xs, ys scale) {
	var px, py []float64
	for _, s := range c.Series {
		for _, pt := range s.Points {
			px, py = append(px, pt.X), append(py, pt.Y)
		}
	}
	return newScale(px, plotL+20, plotR-10), newScale(py, plotB-10, plotT+10)
}

func newScale(v []float64, from, to float64) scale {
	lo, hi := math.Log10(slices.Min(v)), math.Log10(slices.Max(v))
	if hi-lo < minRange {
		lo, hi = (lo+hi-minRange)/2, (lo+hi+minRange)/2
	}
	return scale{lo, hi, from, to}
}

func (s scale) at(v float64) float64 {
	return s.from + (math.Log10(v)-s.lo)/(s.hi-s.lo)*(s.to-s.from)
}

// ticks returns the powers of ten within the scale, and 2 and 5 times them
// where there would be few.
func (s scale) ticks() []float64 {
	steps := []float64{1}
	if s.hi-s.lo < 2*decadeOfTicks {
		steps = []float64{1, 2, 5}
	}
	var ticks []float64
	for e := math.Floor(s.lo); e <= s.hi; e++ {
		for _, k := range steps {
			v := k * math.Pow(10, e)
			if l := math.Log10(v); l >= s.lo-0.01 && l <= s.hi+0.01 {
				ticks = append(ticks, v)
			}
		}
	}
	return ticks
}

// short is a tick in few letters: 200, 5k, 1M, 2G.
func short(v float64) string {
	for _, u := range []struct {
		scale float64
		name  string
	}{{1e9, "G"}, {1e6, "M"}, {1e3, "k"}} {
		if v >= u.scale*0.999 {
			return fmt.Sprintf("%.3g%s", v/u.scale, u.name)
		}
	}
	return fmt.Sprintf("%.3g", v)
}
