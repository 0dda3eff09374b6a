package page

import (
	"bytes"
	"crypto/tls"
	"html"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/cmd/internal/keyring"
	"github.com/ipallow/ipallow/cmd/internal/logstore"
	"github.com/ipallow/ipallow/cmd/internal/manage"
	"github.com/ipallow/ipallow/cmd/internal/manage/managetest"
)

const adminToken = "adm_0123456789abcdefghijklmnopqrstuvwxyzABCDEFG"

// A clock stands still until a test moves it.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// A rig is a Page over a real Service on a real socket.
type rig struct {
	t      *testing.T
	page   *Page
	svc    *manage.Service
	engine *ipallow.Engine
	ring   *keyring.Ring
	logs   *logstore.Store
	clock  *clock
	server *httptest.Server
	log    *syncBuffer
	serial int
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func newRig(t *testing.T, change ...func(*Options, *manage.Options)) *rig {
	return startRig(t, false, change...)
}

func startRig(t *testing.T, overTLS bool, change ...func(*Options, *manage.Options)) *rig {
	t.Helper()
	r := &rig{t: t, clock: &clock{t: time.Date(2026, 11, 24, 15, 0, 0, 0, time.UTC)}, log: &syncBuffer{}}
	o := Options{
		Authenticate: func(token string) bool { return token == adminToken },
		Policy:       ipallow.DefaultPolicy(),
		TryURL:       "http://127.0.0.1:8080/v1/ping",
		Logger:       slog.New(slog.NewTextHandler(r.log, nil)),
		Now:          r.clock.now,
	}
	o.Policy.AllowNonPublic = true
	r.svc, r.engine, r.ring = managetest.Open(t, func(m *manage.Options) {
		m.Now = r.clock.now
		for _, fn := range change {
			fn(&o, m)
		}
		m.Engine = ipallow.New(&ipallow.Options{Policy: &o.Policy, DenyUntilLoaded: true})
	})
	var err error
	r.logs, err = logstore.Open(t.Context(), logstore.Options{Path: filepath.Join(t.TempDir(), "usage.db")})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.logs.Close()) })
	o.Manager, o.Logs = r.svc, r.logs
	r.page, err = New(o)
	require.NoError(t, err)
	r.server = httptest.NewUnstartedServer(r.page)
	if overTLS {
		r.server.StartTLS()
	} else {
		r.server.Start()
	}
	t.Cleanup(r.server.Close)
	return r
}

// A browser keeps cookies and sends what a browser would with a request of the
// page's own.
type browser struct {
	*rig
	client *http.Client
}

func (r *rig) browser(follow bool) *browser { return r.browserAt("127.0.0.1", follow) }

// browserAt is a browser on the machine with this address.
func (r *rig) browserAt(addr string, follow bool) *browser {
	jar, err := cookiejar.New(nil)
	require.NoError(r.t, err)
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(addr)}}
	transport := &http.Transport{DialContext: dialer.DialContext, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	r.t.Cleanup(transport.CloseIdleConnections)
	c := &http.Client{Jar: jar, Transport: transport}
	if !follow {
		c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	}
	return &browser{r, c}
}

// An answer is what came back.
type answer struct {
	*http.Response
	body string
}

func (b *browser) do(req *http.Request) answer {
	b.t.Helper()
	res, err := b.client.Do(req)
	require.NoError(b.t, err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	require.NoError(b.t, err)
	return answer{res, string(body)}
}

func (b *browser) get(path string) answer {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), http.MethodGet, b.server.URL+path, nil)
	require.NoError(b.t, err)
	return b.do(req)
}

func (b *browser) post(path string, form url.Values) answer {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), http.MethodPost, b.server.URL+path, strings.NewReader(form.Encode()))
	require.NoError(b.t, err)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Origin", b.server.URL)
	req.Header.Set("Sec-Fetch-Site", "same-origin")
	return b.do(req)
}

// login logs in.
func (b *browser) login() *browser {
	b.t.Helper()
	a := b.post("/login", url.Values{"token": {adminToken}})
	require.Contains(b.t, []int{http.StatusOK, http.StatusSeeOther}, a.StatusCode, a.body)
	return b
}

// create makes a key, without the page.
func (r *rig) create(name string, entries ...string) manage.Created {
	r.t.Helper()
	var list []manage.ListEntry
	for _, e := range entries {
		entry, label, _ := strings.Cut(e, " ")
		list = append(list, manage.ListEntry{Entry: entry, Label: label})
	}
	c, err := r.svc.Create(r.t.Context(), manage.Actor{Name: "test"}, manage.NewKey{Name: name, Scopes: []string{"read"}, Allowlist: list})
	require.NoError(r.t, err)
	return c
}

// list returns what is stored for a key, as lines of entry and label.
func (r *rig) list(id string) []string {
	r.t.Helper()
	l, err := r.svc.Allowlist(r.t.Context(), id)
	require.NoError(r.t, err)
	var out []string
	for _, e := range l.Entries {
		out = append(out, strings.TrimSpace(short(e.Prefix)+" "+e.Label))
	}
	return out
}

var inputs = regexp.MustCompile(`<input [^>]*>`)

// form reads the inputs of an answer that a browser would send with a button:
// values in the order of the document.
func (a answer) form() url.Values {
	form := url.Values{}
	attr := func(tag, name string) string {
		if m := regexp.MustCompile(`\s` + name + `="([^"]*)"`).FindStringSubmatch(tag); m != nil {
			return html.UnescapeString(m[1])
		}
		return ""
	}
	body := regexp.MustCompile(`(?s)<template.*?</template>`).ReplaceAllString(a.body, "")
	for _, tag := range inputs.FindAllString(body, -1) {
		if attr(tag, "type") == "checkbox" && !strings.Contains(tag, " checked") {
			continue
		}
		if name := attr(tag, "name"); name != "" {
			form.Add(name, attr(tag, "value"))
		}
	}
	return form
}

// press sends the form of an answer by a button.
func (b *browser) press(a answer, path, action string, change ...func(url.Values)) answer {
	b.t.Helper()
	form := a.form()
	form.Set("action", action)
	for _, fn := range change {
		fn(form)
	}
	return b.post(path, form)
}

func (r *rig) check(key, addr string) ipallow.Verdict {
	return r.engine.Check(key, netip.MustParseAddr(addr))
}

// managerOptions shortens the type of newRig's functions.
type managerOptions = manage.Options
