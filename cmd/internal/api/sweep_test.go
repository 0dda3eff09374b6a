package api

import (
	"context"
	"database/sql"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/stretchr/testify/require"
	_ "modernc.org/sqlite"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/cmd/internal/manage"
)

// An operation is one of the document.
type operation struct {
	method, path string // with {id}
	*openapi3.Operation
}

// operations returns those that the function chooses.
func operations(t *testing.T, choose func(operation) bool) []operation {
	t.Helper()
	var ops []operation
	for path, item := range document.Paths.Map() {
		for method, op := range item.Operations() {
			if o := (operation{method, path, op}); choose == nil || choose(o) {
				ops = append(ops, o)
			}
		}
	}
	require.NotEmpty(t, ops)
	slices.SortFunc(ops, func(a, b operation) int { return strings.Compare(a.path+a.method, b.path+b.method) })
	return ops
}

// with chooses operations that have the status in the document.
func with(status string) func(operation) bool {
	return func(o operation) bool { return o.Responses.Value(status) != nil }
}

// call returns a request for the operation with the body of its example.
func (o operation) call(t *testing.T, id string) call {
	c := call{method: o.method, path: strings.NewReplacer("{id}", id, "{name}", "gate-1").Replace(o.path)}
	if o.RequestBody != nil {
		media := o.RequestBody.Value.Content["application/json"]
		c.body = media.Example
		if media.Examples != nil {
			for _, ex := range media.Examples {
				c.body = ex.Value.Value
			}
		}
		require.NotNil(t, c.body, "%s %s has no example", o.method, o.path)
	}
	return c
}

// TestEveryRoute sends the example of every operation, and HEAD where there is
// GET.
func TestEveryRoute(t *testing.T) {
	w := newWorld(t)
	for _, o := range operations(t, nil) {
		a := w.do(o.call(t, w.create("a").ID))
		require.Less(t, a.StatusCode, 300, "%s %s: %s", o.method, o.path, a.text)
		if o.method == "GET" {
			head := o.call(t, w.create("a").ID)
			head.method = "HEAD"
			b := w.do(head).ok(a.StatusCode, nil)
			require.Empty(t, b.text)
			require.Equal(t, a.Header.Get("Content-Type"), b.Header.Get("Content-Type"))
		}
	}
}

func TestEveryRouteNeedsTheToken(t *testing.T) {
	w := newWorld(t)
	id := w.create("a", "203.0.113.0/24").ID
	for _, o := range operations(t, nil) {
		c := o.call(t, id)
		c.anonymous = true
		w.do(c).fails(401, "UNAUTHENTICATED")
		c.path += "?token=" + adminToken
		w.do(c).fails(401, "UNAUTHENTICATED")
	}
	// A path that is not there looks the same, and so does a method.
	for _, c := range []call{
		{method: "GET", path: "/api/v1/nothing"}, {method: "GET", path: "/api/v1//keys"}, {method: "GET", path: "/"},
		{method: "TRACE", path: "/api/v1/keys"}, {method: "OPTIONS", path: "/api/v1/keys"}, {method: "HEAD", path: "/api/v1/keys"},
	} {
		c.anonymous = true
		w.do(c).ok(401, nil)
	}
	var list listView
	w.get("/api/v1/keys/"+id+"/allowlist").ok(200, &list)
	require.Len(t, list.Entries, 1)
	_, err := w.service.Key(t.Context(), id)
	require.NoError(t, err)
}

func TestEveryRouteRefusesUnknownParameters(t *testing.T) {
	w := newWorld(t)
	id := w.create("a").ID
	for _, o := range operations(t, nil) {
		c := o.call(t, id)
		c.path += "?keys=x"
		e := w.do(c).fails(400, "INVALID_QUERY")
		require.Equal(t, "keys", e.Parameter)
		require.Contains(t, e.Message, `"keys"`)
	}
}

func TestEveryRouteOfAKeyThatIsNotThere(t *testing.T) {
	w := newWorld(t)
	for _, o := range operations(t, func(o operation) bool { return with("404")(o) && strings.Contains(o.path, "{id}") }) {
		for _, id := range []string{
			"aaaaaaaaaaaaaaaa", "AAAAAAAAAAAAAAAA", "x", "aaaaaaaaaaaaaaaaa", "%00", "a%2Fb", "%27%20OR%201=1--", "{id}", "*", "1",
			"ipk_aaaaaaaaaaaaaaaa", "%F0%9F%98%80", "%ff", strings.Repeat("a", 4000),
		} {
			e := w.do(o.call(t, id)).fails(404, "NOT_FOUND")
			require.Contains(t, e.Message, "GET /api/v1/keys", "%s %s", o.method, id)
		}
	}
}

func TestPathsThatAreNotThere(t *testing.T) {
	w := newWorld(t)
	id := w.create("a").ID
	for _, path := range []string{
		"/", "/api", "/api/", "/api/v1", "/api/v1/", "/api/v2/keys", "/api/v1/key", "/api/v1/keys/", "/api/v1/Keys", "//api/v1/keys",
		"/api/v1//keys", "/api/v1/./keys", "/api/v1/keys/../keys", "/api/v1/keys/" + id + "/", "/api/v1/keys/" + id + "/allowlists",
		"/api/v1/keys/" + id + "/..", "/api/v1/keys/" + id + "/%2e%2e", "/api/v1/keys//rotate", "/api/v1/keys/%2e/allowlist", "/api/openapi.yaml",
		"/api/v1/logs.csv/", "/api/v1/logs/", "/openapi.json",
	} {
		w.get(path).fails(404, "NOT_FOUND")
		w.do(call{method: "DELETE", path: path}).fails(404, "NOT_FOUND")
	}
}

func TestMethodsThatAPathDoesNotTake(t *testing.T) {
	w := newWorld(t)
	id := w.create("a", "203.0.113.0/24").ID
	for path, item := range document.Paths.Map() {
		var allow []string
		for method := range item.Operations() {
			allow = append(allow, method)
		}
		if slices.Contains(allow, "GET") {
			allow = append(allow, "HEAD")
		}
		slices.Sort(allow)
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "get"} {
			if slices.Contains(allow, method) {
				continue
			}
			a := w.do(call{method: method, path: strings.ReplaceAll(path, "{id}", id)})
			require.Equal(t, 405, a.StatusCode, "%s %s: %s", method, path, a.text)
			require.Equal(t, strings.Join(allow, ", "), a.Header.Get("Allow"))
			if method != "HEAD" {
				a.fails(405, "METHOD_NOT_ALLOWED")
			}
		}
	}
}

func TestEveryChangeOfARevokedKey(t *testing.T) {
	w := newWorld(t)
	id := w.create("a", "203.0.113.0/24").ID
	w.do(call{method: "DELETE", path: "/api/v1/keys/" + id}).ok(200, nil)
	n := 0
	for _, o := range operations(t, with("409")) {
		if strings.Contains(o.path, "{id}") && o.method != "GET" && o.method != "DELETE" { // see below
			n++
			w.do(o.call(t, id)).fails(409, "KEY_REVOKED")
		}
	}
	require.Equal(t, 4, n)
	// It can still be read, and revoking it again is no failure.
	var k keyView
	w.get("/api/v1/keys/"+id).ok(200, &k)
	require.Equal(t, "revoked", k.Status)
	require.NotNil(t, k.RevokedAt)
	w.get("/api/v1/keys/"+id+"/allowlist").ok(200, nil)
	w.do(call{method: "DELETE", path: "/api/v1/keys/" + id}).ok(200, nil)
}

func TestTooManyKeys(t *testing.T) {
	w := newWorld(t, settings{engine: &ipallow.Options{MaxKeys: 1, DenyUntilLoaded: true}})
	w.create("a", "203.0.113.0/24")
	w.post("/api/v1/keys", object{"name": "b", "scopes": []string{"read"}, "allowlist": entries("203.0.113.0/24")}).fails(409, "TOO_MANY_KEYS")
}

// A server that must not change keys says so to everybody who wants to, and
// answers all else.
func TestEveryChangeThatIsRefused(t *testing.T) {
	w := newWorld(t)
	id := w.create("a", "203.0.113.0/24").ID
	w.service.Refuse("Another server has the keys.")
	n := 0
	for _, o := range operations(t, with("409")) {
		if o.method == "GET" || strings.HasSuffix(o.path, "/check") {
			continue // it changes nothing
		}
		n++
		require.Contains(t, w.do(o.call(t, id)).fails(409, "NOT_THE_OWNER").Message, "Another server has the keys.")
	}
	require.Equal(t, 5, n)
	w.get("/api/v1/keys/"+id+"/allowlist").ok(200, nil)
	require.Equal(t, ipallow.Denied, w.engine.Check(id, netip.MustParseAddr("198.51.100.1")))
}

// TestEveryRouteOfABrokenStore takes the tables away under the server.
func TestEveryRouteOfABrokenStore(t *testing.T) {
	w := newWorld(t)
	id := w.create("a", "203.0.113.0/24").ID
	w.served(id, "203.0.113.5", time.Minute)
	for file, tables := range map[string][]string{"ipallowd.db": {"keys", "audit"}, "usage.db": {"blocks"}} {
		db, err := sql.Open("sqlite", "file:"+filepath.Join(w.dir, file)+"?_pragma=busy_timeout(5000)")
		require.NoError(t, err)
		for _, table := range tables {
			_, err = db.Exec("ALTER TABLE " + table + " RENAME TO gone_" + table)
			require.NoError(t, err)
		}
		require.NoError(t, db.Close())
		t.Cleanup(func() { // so that closing it finds all it needs
			db, err := sql.Open("sqlite", "file:"+filepath.Join(w.dir, file)+"?_pragma=busy_timeout(5000)")
			require.NoError(t, err)
			for _, table := range tables {
				_, err = db.Exec("ALTER TABLE gone_" + table + " RENAME TO " + table)
				require.NoError(t, err)
			}
			require.NoError(t, db.Close())
		})
	}
	for _, o := range operations(t, with("500")) {
		e := w.do(o.call(t, id)).fails(500, "INTERNAL")
		require.NotContains(t, e.Message, "table", "the reason is for the log")
		require.Contains(t, w.output.String(), e.RequestID)
	}
	require.Contains(t, w.output.String(), "no such table")
}

func TestEveryRouteOfAStoppingServer(t *testing.T) {
	w := newWorld(t)
	id := w.create("a").ID
	require.NoError(t, w.service.Close())
	require.NoError(t, w.logs.Close())
	for _, o := range operations(t, with("503")) {
		e := w.do(o.call(t, id)).fails(503, "UNAVAILABLE")
		require.Contains(t, e.Message, "stopping")
	}
}

func TestEveryRouteOfASlowServer(t *testing.T) {
	w := newWorld(t)
	id := w.create("a").ID
	slow := newWorld(t, settings{timeout: time.Nanosecond})
	for _, o := range operations(t, with("503")) {
		if o.path == exportPath {
			continue // takes as long as it takes
		}
		e := slow.do(o.call(t, id)).fails(503, "UNAVAILABLE")
		require.Contains(t, e.Message, "in time")
	}
	require.Less(t, slow.get(exportPath).StatusCode, 300)
	page, err := slow.service.Keys(t.Context(), manageAll)
	require.NoError(t, err)
	require.Empty(t, page.Keys)
}

// TestTimeoutInOtherWords has an endpoint that reports its interruption as a
// database does.
func TestTimeoutInOtherWords(t *testing.T) {
	w := newWorld(t, settings{timeout: time.Millisecond})
	w.server.Config.Handler = w.handler.serve(w.handler.timed(func(_ http.ResponseWriter, r *http.Request) error {
		<-r.Context().Done()
		return errors.New("interrupted (9)")
	}))
	resp, err := w.client.Get(w.server.URL)
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Equal(t, 503, resp.StatusCode)
	require.Contains(t, w.output.String(), "interrupted (9)")
}

// A fullDisk is a manager that can store no change.
type fullDisk struct{ manage.Manager }

func (fullDisk) Create(context.Context, manage.Actor, manage.NewKey) (manage.Created, error) {
	return manage.Created{}, manage.ErrFull
}

func (fullDisk) Edit(context.Context, manage.Actor, string, manage.KeyEdit) (manage.Key, error) {
	return manage.Key{}, manage.ErrFull
}

func (fullDisk) Rotate(context.Context, manage.Actor, string) (manage.Created, error) {
	return manage.Created{}, manage.ErrFull
}

func (fullDisk) Revoke(context.Context, manage.Actor, string) error { return manage.ErrFull }

func (fullDisk) SetAllowlist(context.Context, manage.Actor, string, manage.ListEdit) (manage.Created, error) {
	return manage.Created{}, manage.ErrFull
}

// Every change that a full disk prevents says so (RFC 4918, section 11.5).
func TestEveryChangeOnAFullDisk(t *testing.T) {
	w := newWorld(t)
	id := w.create("a", "203.0.113.0/24").ID
	w.handler.manager = fullDisk{w.service}
	n := 0
	for _, o := range operations(t, with("507")) {
		n++
		w.do(o.call(t, id)).fails(507, "DISK_FULL")
	}
	require.Equal(t, 5, n)
	w.get("/api/v1/keys/"+id+"/allowlist").ok(200, nil)
}

// A request for another host gets the document's answer at every path. Which hosts are
// others is the server's to know, and is tried in attacktest.
func TestEveryRouteOfAnotherHost(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		WrongHost(w, "This server does not answer for the host.")
	}))
	defer server.Close()
	for path, item := range document.Paths.Map() {
		path = strings.NewReplacer("{id}", "aaaaaaaaaaaaaaaa", "{name}", "gate").Replace(path)
		for method := range item.Operations() {
			req, err := http.NewRequestWithContext(t.Context(), method, server.URL+path, nil)
			require.NoError(t, err)
			resp, err := server.Client().Do(req)
			require.NoError(t, err)
			body, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			require.NoError(t, err)
			require.Equal(t, 421, resp.StatusCode)
			require.Contains(t, string(body), `"WRONG_HOST"`)
			judge(t, req, nil, resp, body)
		}
	}
}
