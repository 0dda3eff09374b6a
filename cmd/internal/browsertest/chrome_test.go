package browsertest

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	cdppage "github.com/chromedp/cdproto/page"
	cdpruntime "github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/require"
)

// stepTime bounds each thing done in the browser.
const stepTime = time.Minute

// newBrowser starts Chromium, with a profile of its own, until the test ends.
func newBrowser(t *testing.T) context.Context {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("chromium is missing: run .ci/install-chromium")
		}
		t.Skip("chromium is missing: install it to drive the settings page in a browser (.ci/install-chromium)")
	}
	profile, err := os.MkdirTemp("", "ipallow-chromium-")
	require.NoError(t, err)
	t.Cleanup(func() { removeAll(t, profile) })
	opts := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path),
		chromedp.NoSandbox, // tests may run as root, in a container
		chromedp.DisableGPU,
		chromedp.UserDataDir(profile),
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("no-pings", true),
	)
	alloc, cancel := chromedp.NewExecAllocator(context.Background(), opts...)
	t.Cleanup(cancel)
	ctx, cancel := chromedp.NewContext(alloc)
	t.Cleanup(cancel)
	require.NoError(t, chromedp.Do(ctx), "chromium does not start")
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(ctx, stepTime)
		defer cancel()
		_ = chromedp.Cancel(ctx) // it may have ended already
	})
	return ctx
}

// removeAll removes the profile, in which the browser's processes may still be
// writing for a moment.
func removeAll(t *testing.T, dir string) {
	var err error
	for range 100 {
		if err = os.RemoveAll(dir); err == nil {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Error(err)
}

// A look is how somebody sees the page.
type look struct {
	name          string
	width, height int64
	also          []int64 // widths at which each page is examined too
	mobile        bool
	dark          bool
	noScript      bool
}

// narrow is the width of the smallest phone that the page is made for.
const narrow = 320

var looks = []look{
	{name: "phone-light", width: 390, height: 844, also: []int64{narrow}, mobile: true},
	{name: "phone-dark", width: 390, height: 844, also: []int64{narrow}, mobile: true, dark: true},
	{name: "desktop-light", width: 1280, height: 900},
	{name: "desktop-dark", width: 1280, height: 900, also: []int64{600, 720, 820, 920}, dark: true},
	{name: "without-javascript", width: 1024, height: 768, noScript: true},
}

// A tab is a window of the browser with cookies of its own. What the page
// writes to the console, and what it asks of other hosts, is kept for the end
// of the test.
type tab struct {
	*stack
	t    *testing.T
	ctx  context.Context
	look look

	mu     sync.Mutex
	faults []string
}

func newTab(t *testing.T, browser context.Context, s *stack, l look) *tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(browser, chromedp.WithNewBrowserContext())
	t.Cleanup(cancel)
	b := &tab{stack: s, t: t, ctx: ctx, look: l}
	require.NoError(t, chromedp.Do(ctx)) // opens it, without a bound
	require.NoError(t, chromedp.Listen(ctx, b.listen))
	b.resize(l.width, l.height)
	scheme := "light"
	if l.dark {
		scheme = "dark"
	}
	_, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{
			{Name: "prefers-color-scheme", Value: scheme},
			{Name: "prefers-reduced-motion", Value: "reduce"},
		},
	})
	require.NoError(t, err)
	// The tabs run beside each other, and each is to believe that it is in front.
	_, err = chromedp.Call(ctx, emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true})
	require.NoError(t, err)
	if l.noScript {
		_, err := chromedp.Call(ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
		require.NoError(t, err)
	}
	t.Cleanup(func() {
		if faults := b.complaints(); len(faults) > 0 {
			t.Errorf("the browser complained:\n%s", strings.Join(faults, "\n"))
		}
	})
	return b
}

func (b *tab) resize(width, height int64) {
	b.t.Helper()
	var opts []chromedp.EmulateViewportOption
	if b.look.mobile {
		opts = append(opts, chromedp.EmulateMobile, chromedp.EmulateTouch)
	}
	b.do("resize", chromedp.EmulateViewport(width, height, opts...))
}

// complaints returns what must not happen and did, and forgets it.
func (b *tab) complaints() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	faults := b.faults
	b.faults = nil
	return faults
}

// listen keeps what must not happen.
func (b *tab) listen(ev any) {
	fault := ""
	switch ev := ev.(type) {
	case *cdplog.EventEntryAdded:
		e := ev.Entry
		// A page that is answered with 4xx is reported as such. An asset must
		// not be.
		if e.Level == cdplog.EntryLevelInfo || e.Level == cdplog.EntryLevelVerbose {
			return
		}
		if e.Source == cdplog.EntrySourceNetwork && !strings.Contains(e.URL, "/static/") && strings.HasPrefix(e.URL, b.page) {
			return
		}
		fault = fmt.Sprintf("log: %s %s: %s (%s)", e.Source, e.Level, e.Text, e.URL)
	case *cdpruntime.EventConsoleAPICalled:
		fault = fmt.Sprintf("console.%s", ev.Type)
		for _, a := range ev.Args {
			fault += fmt.Sprintf(" %s%s", a.Value, a.Description)
		}
	case *cdpruntime.EventExceptionThrown:
		fault = "exception: " + ev.ExceptionDetails.Text
		if x := ev.ExceptionDetails.Exception; x != nil {
			fault += " " + x.Description
		}
	case *network.EventRequestWillBeSent:
		u, err := url.Parse(ev.Request.URL)
		if err == nil && (u.Scheme == "data" || strings.HasPrefix(ev.Request.URL, b.page+"/")) {
			return
		}
		fault = "request to elsewhere: " + ev.Request.URL
	case *cdppage.EventJavascriptDialogOpening:
		fault = "dialog: " + ev.Message
	}
	if fault != "" {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.faults = append(b.faults, fault)
	}
}

// do runs steps that lead to no other page.
func (b *tab) do(what string, steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, stepTime)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		b.fail(what, err)
	}
}

// leads runs steps that lead to another page, and returns its status.
func (b *tab) leads(what string, steps ...chromedp.Action[chromedp.Void]) int {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, stepTime)
	defer cancel()
	res, err := chromedp.RunResponse(ctx, steps...)
	if err != nil {
		b.fail(what, err)
	}
	if res == nil {
		b.fail(what, errors.New("it led to no other page"))
	}
	return int(res.Status)
}

// fail ends the test with a picture of what was there.
func (b *tab) fail(what string, err error) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, stepTime)
	defer cancel()
	where, _ := chromedp.Run(ctx, chromedp.Location())
	text, _ := chromedp.Run(ctx, chromedp.Evaluate[string]("document.body.innerText"))
	if png, e := chromedp.Run(ctx, chromedp.CaptureScreenshot()); e == nil {
		file := filepath.Join(os.TempDir(), "ipallow-browsertest-"+b.look.name+".png")
		if os.WriteFile(file, png, 0o600) == nil {
			b.t.Logf("picture: %s", file)
		}
	}
	b.t.Fatalf("%s: %s: %v\nat %s:\n%s", b.look.name, what, err, where, text)
}

// open goes to a page by its path.
func (b *tab) open(path string) int {
	b.t.Helper()
	return b.leads("open "+path, chromedp.Navigate(b.page+path))
}

// press clicks what leads to another page.
func (b *tab) press(css string) int {
	b.t.Helper()
	return b.leads("press "+css, chromedp.Click(chromedp.CSS(css), chromedp.NodeVisible))
}

// click clicks what leads to no other page.
func (b *tab) click(css string) {
	b.t.Helper()
	b.do("click "+css, chromedp.Click(chromedp.CSS(css), chromedp.NodeVisible))
}

// fill types a text into a field in place of what was there.
func (b *tab) fill(css, text string) {
	b.t.Helper()
	b.do("fill "+css,
		chromedp.Focus(chromedp.CSS(css), chromedp.NodeVisible),
		chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
			if _, err := chromedp.Evaluate[bool]("document.activeElement.select(), true")(ctx, t); err != nil {
				return err
			}
			if text == "" {
				_, err := chromedp.KeyEvent(kb.Delete)(ctx, t)
				return err
			}
			_, err := cdp.Call(ctx, t, input.InsertText, input.InsertTextParams{Text: text})
			return err
		}),
	)
}

// value returns what a field holds.
func (b *tab) value(css string) string {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, stepTime)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Value(chromedp.CSS(css)))
	if err != nil {
		b.fail("value of "+css, err)
	}
	return v
}

// text returns what can be read of an element.
func (b *tab) text(css string) string {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, stepTime)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Text(chromedp.CSS(css)))
	if err != nil {
		b.fail("text of "+css, err)
	}
	return v
}

// path returns the path of the address.
func (b *tab) path() string {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, stepTime)
	defer cancel()
	where, err := chromedp.Run(ctx, chromedp.Location())
	if err != nil {
		b.fail("location", err)
	}
	u, err := url.Parse(where)
	require.NoError(b.t, err)
	return u.Path
}

// evaluate runs an expression in the page.
func evaluate[T any](b *tab, expression string) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, stepTime)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		b.fail("evaluate", err)
	}
	return v
}

// noValidate has the browser send the first form as it is, so that the server's
// own checks are seen.
func noValidate(ctx context.Context, t *chromedp.Target) error {
	_, err := chromedp.Evaluate[bool]("[...document.forms].forEach((f) => { f.noValidate = true; }), true")(ctx, t)
	return err
}

// scrollTo brings an element to the top of the window.
func (b *tab) scrollTo(css string) {
	b.t.Helper()
	evaluate[bool](b, fmt.Sprintf("document.querySelector(%q).scrollIntoView(), scrollBy(0, -90), true", css))
}
