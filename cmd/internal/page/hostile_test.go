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
	hidden "github.com/ipallow/ipallow/cmd/internal/visible"
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
		require.Equal(t, hidden.Text(text), a.form()["label"][0], "what was saved can be read back")
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
		require.Equal(t, hidden.Text(strings.Repeat(text, 20)), a.form().Get("name"), "what was typed stays")
		clean(t, b.post(keyURL(id, "edit"), url.Values{"name": {strings.Repeat(text, 20)}, "description": {text}, "scope": {text}}), "edit")
	}
}

// key returns what is stored of a key.
func (r *rig) key(id string) manage.Key {
	r.t.Helper()
	k, err := r.svc.Key(r.t.Context(), id)
	require.NoError(r.t, err)
	return k
}

// TestHiddenCharacters: a text cannot pass for another by characters that are
// not seen.
func TestHiddenCharacters(t *testing.T) {
	r := newRig(t)
	b := r.browser(true).login()
	const spoof = "admin\u202egpj.exe"
	id := r.create(spoof, "203.0.113.0/24 "+spoof).Key.ID
	require.NoError(t, r.logs.Append(t.Context(), []usagelog.Record{{ID: usagelog.RecordID{1}, Time: r.clock.now(), KeyID: id, Method: "GET", Path: "/" + spoof, Status: 200}}))
	for _, path := range []string{"/keys", "/logs", "/audit", keyURL(id, "edit"), keyURL(id, "allowlist")} {
		body := html.UnescapeString(b.get(path).body)
		require.Contains(t, body, "admin[U+202E]gpj.exe", path)
		require.Equal(t, body, string(hidden.HTML([]byte(body))), path)
	}

	// What a field shows is what is saved, and it can be edited as it is shown.
	a := b.get(keyURL(id, "edit"))
	require.Equal(t, "admin[U+202E]gpj.exe", a.form().Get("name"))
	require.Equal(t, http.StatusOK, b.post(keyURL(id, "edit"), a.form()).StatusCode)
	require.Equal(t, spoof, r.key(id).Name)
	form := a.form()
	form.Set("name", "ad[U+2800]min [U+005B]U+202E] [U+0041]")
	require.Equal(t, http.StatusOK, b.post(keyURL(id, "edit"), form).StatusCode)
	require.Equal(t, "ad[U+2800]min [U+005B]U+202E] [U+0041]", r.key(id).Name, "there is no text that is shown so")
	form.Set("name", "ad[U+2800]min [U+005B]U+202E]")
	require.Equal(t, http.StatusOK, b.post(keyURL(id, "edit"), form).StatusCode)
	require.Equal(t, "ad\u2800min [U+202E]", r.key(id).Name)
	require.Equal(t, "ad[U+2800]min [U+005B]U+202E]", b.get(keyURL(id, "edit")).form().Get("name"))

	list := b.get(keyURL(id, "allowlist"))
	require.Equal(t, "admin[U+202E]gpj.exe", list.form().Get("label"))
	form = list.form()
	form.Set("action", "save")
	form.Add("entry", "198.51.100.7")
	form.Add("label", "[U+3164]")
	require.Equal(t, http.StatusOK, b.post(keyURL(id, "allowlist"), form).StatusCode)
	stored, err := r.svc.Allowlist(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, spoof, stored.Entries[0].Label)
	require.Equal(t, "\u3164", stored.Entries[1].Label)
	require.Contains(t, html.UnescapeString(b.get("/keys?q="+url.QueryEscape("[U+2800]")).body), "ad[U+2800]min", "a search takes what is shown")
}

// No page, whatever it shows, sends a hidden character to a browser: not those of
// names, labels, descriptions, logs, and of what a link asks for.
func TestNoHiddenCharacterReachesABrowser(t *testing.T) {
	r := newRig(t)
	b := r.browser(true).login()
	for _, unseen := range []string{"\u202e", "\u3164", "\uffa0", "\u2800", "\u034f", "\ufe0f", "\U000e0041", "\u200b", "\u2028", "\u00ad", "\ue000", "\u200d", "\u2003", strings.Repeat("\u0336", 30)} {
		text := "pay" + unseen + "roll"
		created, err := r.svc.Create(t.Context(), manage.Actor{Name: text}, manage.NewKey{
			Name: text, Description: text + "\nsecond line", Scopes: []string{"read"}, Allowlist: []manage.ListEntry{{Entry: "203.0.113.0/24", Label: text}},
		})
		require.NoError(t, err)
		id := created.Key.ID
		require.NoError(t, r.logs.Append(t.Context(), []usagelog.Record{
			{ID: usagelog.RecordID{1}, Time: r.clock.now(), RequestID: text, KeyID: text, Method: text, Path: "/" + text, Status: 200},
		}))
		q := url.QueryEscape(text)
		for _, path := range []string{
			"/keys", "/keys?q=" + q, keyURL(id, "allowlist"), keyURL(id, "edit"), keyURL(id, "rotate"), keyURL(id, "revoke"), keyURL(id, "secret"),
			"/logs", "/logs?key=" + q + "&method=" + q + "&status=" + q + "&from=" + q, "/audit", "/audit?key=" + id, "/audit?key=" + q, "/" + q, "/keys/" + q,
		} {
			body := html.UnescapeString(b.get(path).body)
			require.NotContains(t, body, unseen, "%q at %s", unseen, path)
		}
		path := keyURL(id, "allowlist")
		for _, action := range []string{"row", "test", "paste", "enter", "save", text} {
			a := b.post(path, url.Values{"action": {action}, "tag": {r.tag(id)}, "entry": {text}, "label": {text}, "test": {text}, "paste": {text + "\n" + text}})
			require.NotContains(t, html.UnescapeString(a.body), unseen, "%q by %s", unseen, action)
		}
		a := b.get(keyURL(id, "edit"))
		form := a.form()
		form.Set("description", hidden.Lines(text+"\r\nsecond line"))
		require.Contains(t, html.UnescapeString(a.body), hidden.Lines(text+"\nsecond line")+"</textarea>")
		require.Equal(t, http.StatusOK, b.post(keyURL(id, "edit"), form).StatusCode)
		require.Equal(t, text, r.key(id).Name, "what is sent back unchanged is unchanged")
		require.Equal(t, text+"\nsecond line", r.key(id).Description)
	}
}
