package page

import (
	"html"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/cmd/internal/manage"
	"github.com/ipallow/ipallow/usagelog"
)

// hostile are texts that would do something in a page which does not escape.
var hostile = []string{
	`<script>alert(1)</script>`,
	`"><img src=x onerror=alert(1)>`,
	`' autofocus onfocus=alert(1) x='`,
	`</textarea><script>alert(1)</script>`,
	`</title><svg onload=alert(1)>`,
	`javascript:alert(1)`,
	`{{.Key}} ${alert(1)} <!-- -->`,
	`&lt;script&gt;alert(1)&lt;/script&gt;`,
	"tab\u2028line\u2029para",
	`%22%3E%3Cscript%3E`,
	`<a href="https://evil.example">click</a>`,
}

// tags are the elements and attributes that the templates have; anything else
// in a page came from a text.
var (
	aTag       = regexp.MustCompile(`<(/?)([a-zA-Z!][a-zA-Z0-9-]*)((?:[^>"]|"[^"]*")*)>`)
	templTags  = map[string]bool{}
	aValue     = regexp.MustCompile(`"[^"]*"`)
	strayQuote = regexp.MustCompile(`[<'=]|\son|\sstyle`)
	badAddress = regexp.MustCompile(`\s(href|src|action)="([^/"#]|//)[^"]*"`)
)

func init() {
	for _, tag := range strings.Fields(`!DOCTYPE a b bdi body button caption code datalist dd del desc details div dl dt fieldset figcaption
		figure footer form h1 h2 head header html i img input ins label legend li link main meta nav ol option p path rect circle script section
		select span summary svg table tbody td template textarea th thead time title tr ul`) {
		templTags[tag] = true
	}
}

// clean fails the test if a page has more scripts or other elements than the
// templates put there.
func clean(t *testing.T, a answer, what string) {
	t.Helper()
	require.Equal(t, 1, strings.Count(a.body, "<script"), what)
	for _, m := range aTag.FindAllStringSubmatch(a.body, -1) {
		require.True(t, templTags[m[2]], "%s: <%s>", what, m[2])
		require.Empty(t, strayQuote.FindString(strings.ReplaceAll(aValue.ReplaceAllString(m[3], "~"), "=~", "")), "%s: %s", what, m[0])
		require.Empty(t, badAddress.FindString(m[3]), "%s: %s", what, m[0])
	}
	require.Equal(t, strings.Count(a.body, "<img"), strings.Count(a.body, `<img src="/static/`), what)
	require.NotContains(t, a.body, "ZgotmplZ", what)
}

func TestHostileTexts(t *testing.T) {
	r := newRig(t)
	b := r.browser(true).login()
	for _, text := range hostile {
		created, err := r.svc.Create(t.Context(), manage.Actor{Name: text}, manage.NewKey{
			Name: text, Description: text, Scopes: []string{"read"}, Allowlist: []manage.ListEntry{{Entry: "203.0.113.0/24", Label: text}},
		})
		if strings.Contains(text, "\u2028") && err != nil {
			continue
		}
		require.NoError(t, err)
		id := created.Key.ID
		require.NoError(t, r.logs.Append(t.Context(), []usagelog.Record{
			{ID: usagelog.RecordID{1}, Time: r.clock.now(), RequestID: text, KeyID: id, Method: text, Path: "/" + text, Status: 403, ClientAddr: netip.MustParseAddr("192.0.2.1")},
			{ID: usagelog.RecordID{2}, Time: r.clock.now(), RequestID: text, KeyID: text, Method: "GET", Path: text, Status: 200, Verdict: ipallow.Unrestricted},
		}))
		q := url.QueryEscape(text)
		for _, path := range []string{
			"/keys", "/keys?q=" + q, "/keys?cursor=" + q, keyURL(id, "allowlist"), keyURL(id, "allowlist?add="+q), keyURL(id, "edit"), keyURL(id, "rotate"),
			keyURL(id, "revoke"), keyURL(id, "secret"), "/logs", "/logs?key=" + q + "&method=" + q + "&status=" + q + "&from=" + q + "&to=" + q + "&period=" + q,
			"/logs?cursor=" + q, "/logs?key=" + id, "/audit", "/audit?key=" + id, "/audit?key=" + q, "/audit?cursor=" + q, "/" + q, "/keys/" + q, "/login?next=" + q,
		} {
			clean(t, b.get(path), path)
		}
		path := keyURL(id, "allowlist")
		a := b.get(path)
		require.Equal(t, text, a.form()["label"][0], "what was saved can be read back")
		for _, action := range []string{"save", "row", "test", "paste", "enter", "merge", "addr:" + text, "use:0:" + text, "remove:" + text, text} {
			a = b.post(path, url.Values{
				"action": {action}, "tag": {r.tag(id)}, "entry": {"203.0.113.0/24", text}, "label": {text, text}, "test": {text}, "tested": {text}, "paste": {text + "\n" + text},
			})
			clean(t, a, action)
		}
		a = b.post(path, url.Values{"action": {"save"}, "tag": {text}, "entry": {"203.0.113.0/24"}, "label": {text + "!"}})
		require.Equal(t, http.StatusConflict, a.StatusCode)
		clean(t, a, "conflict")
		a = b.post("/keys/new", url.Values{"action": {"create"}, "name": {strings.Repeat(text, 20)}, "description": {strings.Repeat(text, 100)}, "scope": {text}, "entry": {text}, "label": {strings.Repeat(text, 20)}})
		require.Equal(t, http.StatusUnprocessableEntity, a.StatusCode)
		clean(t, a, "create")
		require.Equal(t, strings.Repeat(text, 20), a.form().Get("name"), "what was typed stays")
		clean(t, b.post(keyURL(id, "edit"), url.Values{"name": {strings.Repeat(text, 20)}, "description": {text}, "scope": {text}}), "edit")
	}
}

// TestHiddenCharacters: a text cannot pass for another by characters that are
// not seen.
func TestHiddenCharacters(t *testing.T) {
	for in, want := range map[string]string{
		"plain – text, “quoted”":      "plain – text, “quoted”",
		"office\u202e4202 gpj.":       "office[U+202E]4202 gpj.",
		"a\u2066b\u2069c":             "a[U+2066]b[U+2069]c",
		"zero\u200bwidth\ufeff":       "zero[U+200B]width[U+FEFF]",
		"nul\x00 bell\a esc\x1b[31m":  "nul[U+0000] bell[U+0007] esc[U+001B][31m",
		"bad \xff utf-8":              "bad [U+FFFD] utf-8",
		"two\nlines":                  "two\nlines",
		"می\u200cخواهم 👩\u200d💻":      "می\u200cخواهم 👩\u200d💻",
		"wide\u3000space\u00a0no-brk": "wide\u3000space\u00a0no-brk",
		"tag \U000e0041":              "tag [U+E0041]",
		"שלום":                        "שלום",
	} {
		require.Equal(t, want, visible(in), "%q", in)
	}

	r := newRig(t)
	b := r.browser(true).login()
	const spoof = "admin\u202egpj.exe"
	id := r.create(spoof, "203.0.113.0/24 "+spoof).Key.ID
	require.NoError(t, r.logs.Append(t.Context(), []usagelog.Record{{ID: usagelog.RecordID{1}, Time: r.clock.now(), KeyID: id, Method: "GET", Path: "/" + spoof, Status: 200}}))
	for _, path := range []string{"/keys", "/logs", "/audit", keyURL(id, "edit"), keyURL(id, "allowlist")} {
		body := html.UnescapeString(b.get(path).body)
		require.Contains(t, body, "admin[U+202E]gpj.exe", path)
		// In a field it must stay what it is, or it could not be saved again.
		for _, at := range regexp.MustCompile(`[^"]*\x{202e}`).FindAllString(body, -1) {
			require.Contains(t, at, "admin", path)
		}
		require.LessOrEqual(t, strings.Count(body, "\u202e"), 1, path)
	}
}
