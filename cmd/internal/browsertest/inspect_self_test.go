package browsertest

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// badPage has one of each of the faults that inspect looks for.
const badPage = `<!DOCTYPE html>
<html><head><title> </title><link rel="icon" href="data:,"><link rel="stylesheet" href="/bad.css"><script>window.inline = 1</script><script src="/bad.js"></script></head>
<body>
<nav><a href="/">a link with text</a></nav><nav><a href="/"></a></nav>
<h1>one</h1><h1>two</h1><h3>three</h3>
<p class="pale" id="twice">pale text</p><p id="twice">more text</p><p style="color: red">styled text</p><p class="half">half transparent</p>
<input name="unnamed"><input name="wrong" aria-label="x" aria-invalid="true" aria-describedby="nowhere"><label for="missing">label</label>
<button class="tiny">x</button><svg class="picture"></svg><img src="data:,"><fieldset><input aria-label="in a set"></fieldset>
<table><tr><th>head</th></tr></table><div tabindex="3">order</div><div class="wide">wide</div>
<a href="/" class="bare">no outline</a>
</body></html>`

// TestInspectFindsFaults: the checks of the other tests can fail.
func TestInspectFindsFaults(t *testing.T) {
	chrome := newBrowser(t)
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Security-Policy", "script-src 'self'")
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(w, badPage)
	})
	mux.HandleFunc("/bad.css", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/css")
		_, _ = io.WriteString(w, `body { background: #fff } .pale { color: #999 } .half { opacity: .5 } .tiny { width: 9px; height: 9px; padding: 0 }
			.wide { width: 3000px } .bare:focus { outline: none } input { border: 1px solid #eee }`)
	})
	mux.HandleFunc("/bad.js", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/javascript")
		_, _ = io.WriteString(w, `console.log("hello"); new Image().src = "http://localhost:1/elsewhere.png"; throw new Error("thrown")`)
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	b := newTab(t, chrome, &stack{t: t, page: server.URL}, looks[2])
	b.open("/")
	found := strings.Join(evaluate[[]string](b, inspectScript), "\n")
	for _, fault := range []string{
		"the document has no language", "the document has no title", "there are 2 h1", "there is not one main", "follows a heading of level 1",
		"a nav has no label of its own", "there is no skip link", "the id twice is there more than once", "for names missing", "aria-describedby names nowhere",
		"[name=unnamed]> \"\": has no label", "has no name", "is neither hidden nor named", "has no alt", "has no legend", "has no caption", "has no scope",
		"is invalid and does not say why", "changes the order of the tab key", "has the attribute style", "wide and the window", "too small to press",
		"pale text\": text has a contrast of 2.8", "is half transparent", "its border has a contrast of 1",
	} {
		require.Contains(t, found, fault)
	}
	complaints := strings.Join(b.complaints(), "\n")
	for _, fault := range []string{"Content Security Policy", "console.log", "thrown", "request to elsewhere: http://localhost:1/elsewhere.png"} {
		require.Contains(t, complaints, fault)
	}
}
