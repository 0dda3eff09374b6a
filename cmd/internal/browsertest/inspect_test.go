package browsertest

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/require"
)

//go:embed inspect.js
var inspectScript string

// inspect fails the test for whatever a person could stumble over on the page
// that is open: at the widths of the look, and then with the tab key.
func (b *tab) inspect(what string) {
	b.t.Helper()
	b.examine(what)
	for _, width := range b.look.also {
		b.resize(width, 800)
		b.examine(fmt.Sprintf("%s, %d wide", what, width))
	}
	if len(b.look.also) > 0 {
		b.resize(b.look.width, b.look.height)
	}
	// Colours change nothing here, and without JavaScript nobody writes down
	// where the focus goes.
	if !b.look.dark && !b.look.noScript {
		b.tabThrough(what)
	}
}

func (b *tab) examine(what string) {
	b.t.Helper()
	faults := evaluate[[]string](b, inspectScript)
	if len(faults) > 0 {
		b.t.Errorf("%s, %s at %s:\n  %s", what, b.look.name, b.path(), strings.Join(faults, "\n  "))
	}
	b.axe(what)
}

// axe runs axe-core, where IPALLOW_AXE names its file (axe.min.js), which is not part of
// this repository.
func (b *tab) axe(what string) {
	b.t.Helper()
	file := os.Getenv("IPALLOW_AXE")
	if file == "" || b.look.noScript {
		return
	}
	script, err := os.ReadFile(file)
	require.NoError(b.t, err)
	ctx, cancel := context.WithTimeout(b.ctx, stepTime)
	defer cancel()
	found, err := chromedp.Run(ctx, chromedp.Evaluate[[]string](string(script)+`;
		axe.run().then((r) => r.violations.map((v) => v.id + ": " + v.help + ": " + v.nodes.map((n) => n.html.slice(0, 200)).join(" ")))`,
		chromedp.EvalAwaitPromise))
	require.NoError(b.t, err)
	axeRuns.Add(1)
	if len(found) > 0 {
		b.t.Errorf("%s, %s at %s: axe-core:\n  %s", what, b.look.name, b.path(), strings.Join(found, "\n  "))
	}
	b.t.Logf("axe-core: %d pages, the last %s, %s", axeRuns.Load(), what, b.look.name)
}

// axeRuns counts the pages that axe-core has looked at.
var axeRuns atomic.Int64

// watchFocus has the page write down where the focus goes, and whether it can be
// seen there. It returns what the tab key has to reach, and how many presses
// that takes at most: a field for a time has several stops.
const watchFocus = `(() => {
	document.activeElement.blur();
	const all = [...document.querySelectorAll("a[href], button, input, select, textarea, summary, [tabindex='0']")]
		.filter((el) => el.type !== "hidden" && !el.hidden && el.tabIndex >= 0 && el.checkVisibility({ visibilityProperty: true }));
	window.went = [];
	addEventListener("focusin", (e) => {
		const style = getComputedStyle(e.target);
		went.push({ at: all.indexOf(e.target), seen: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0 });
	});
	return {
		names: all.map((el) => el.outerHTML.slice(0, 120)),
		presses: all.length + 3 + 8 * all.filter((el) => el.type === "datetime-local").length,
	};
})()`

// tabThrough presses the tab key until every control had the focus, in the
// order of the document.
func (b *tab) tabThrough(what string) {
	b.t.Helper()
	type plan struct {
		Names   []string `json:"names"`
		Presses int      `json:"presses"`
	}
	type stop struct {
		At   int  `json:"at"`
		Seen bool `json:"seen"`
	}
	all := evaluate[plan](b, watchFocus)
	for range all.Presses {
		b.do("tab", chromedp.KeyEvent(kb.Tab))
	}
	// The first press goes on from where the page put the focus, and the last
	// control is followed by the first.
	reached, next := 0, -1
	for _, s := range evaluate[[]stop](b, "went") {
		switch {
		case s.At < 0:
			b.t.Errorf("%s, %s: the tab key reaches something that is no control", what, b.look.name)
			return
		case next >= 0 && s.At != next:
			b.t.Errorf("%s, %s: the tab key reaches\n  %s\nwhere it should reach\n  %s", what, b.look.name, all.Names[s.At], all.Names[next])
			return
		case !s.Seen:
			b.t.Errorf("%s, %s: the focus cannot be seen on %s", what, b.look.name, all.Names[s.At])
		}
		next = (s.At + 1) % len(all.Names)
		reached++
	}
	if reached < len(all.Names) {
		b.t.Errorf("%s, %s: the tab key does not reach\n  %s", what, b.look.name, all.Names[next])
	}
}

// pictures are those of the documentation, by what they show and the look.
var pictures = map[string]bool{
	"keys-desktop-light":       true,
	"create-fault-phone-light": true,
	"allowlist-desktop-light":  true,
	"allowlist-phone-dark":     true,
	"lockout-desktop-dark":     true,
	"conflict-desktop-light":   true,
	"logs-desktop-light":       true,
	"logs-phone-dark":          true,
	"audit-desktop-dark":       true,
}

// shot writes a picture of the page for the documentation, where they are
// asked for and this is one of them.
func (b *tab) shot(what string) {
	b.t.Helper()
	dir, name := os.Getenv("IPALLOW_SCREENSHOTS"), what+"-"+b.look.name
	if dir == "" || !pictures[name] {
		return
	}
	require.NoError(b.t, os.MkdirAll(dir, 0o755))
	png, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
	require.NoError(b.t, err)
	require.Less(b.t, len(png), 150_000, "%s: a picture in the repository should be small", name)
	require.NoError(b.t, os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644))
}
