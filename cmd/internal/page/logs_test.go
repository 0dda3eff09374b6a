package page

import (
	"encoding/csv"
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/cmd/internal/manage"
	"github.com/ipallow/ipallow/usagelog"
)

// add puts records into the log. It gives them identifiers, and where they have
// none the present time.
func (r *rig) add(records ...usagelog.Record) {
	r.t.Helper()
	for i := range records {
		r.serial++
		records[i].ID = usagelog.RecordID{0: 1, 14: byte(r.serial >> 8), 15: byte(r.serial)}
		if records[i].Time.IsZero() {
			records[i].Time = r.clock.now().Add(-time.Second)
		}
	}
	require.NoError(r.t, r.logs.Append(r.t.Context(), records))
}

func served(key string) usagelog.Record {
	return usagelog.Record{KeyID: key, Method: "GET", Path: "/v1/ping", Status: 200, Verdict: ipallow.Allowed, ClientAddr: netip.MustParseAddr("203.0.113.9")}
}

func blocked(key, addr string) usagelog.Record {
	r := usagelog.Record{KeyID: key, Method: "GET", Path: "/v1/ping", Status: 403, Verdict: ipallow.Denied}
	if addr != "" {
		r.ClientAddr = netip.MustParseAddr(addr)
	}
	return r
}

var (
	logRows  = regexp.MustCompile(`(?s)<tr role="row"[^>]*>\s*<td.*?</tr>`)
	nextLink = regexp.MustCompile(`href="([^"]*)" rel="next"`)
)

func TestLogRows(t *testing.T) {
	r := newRig(t)
	b := r.browser(true).login()
	require.Contains(t, b.get("/logs").body, "No requests in this time")
	id := r.create("Billing", "203.0.113.0/24").Key.ID
	gone := r.create("Gone", "203.0.113.0/24").Key.ID
	require.NoError(t, r.svc.Revoke(t.Context(), manage.Actor{}, gone))
	reported := blocked(id, "198.51.100.1")
	reported.Status = 200
	scope := blocked(id, "203.0.113.9")
	scope.Verdict = ipallow.Allowed
	for i, c := range []struct {
		rec   usagelog.Record
		text  string
		allow string
	}{
		{served(id), "Served", ""},
		{blocked(id, "198.51.100.7"), "Blocked", "198.51.100.7"},
		{blocked(id, "2001:db8::7"), "Blocked", "2001:db8::7"},
		{blocked(id, ""), "Blocked", ""},
		{blocked(gone, "198.51.100.7"), "Blocked", ""},
		{blocked("nobodysentthisid", "198.51.100.7"), "Blocked", ""},
		{reported, "Not in the list", "198.51.100.1"},
		{scope, "Refused", ""},
		{usagelog.Record{Method: "GET", Path: "/", Status: 401, ClientAddr: netip.MustParseAddr("192.0.2.1")}, "No valid key", ""},
		{usagelog.Record{KeyID: id, Method: "GET", Path: "/", Status: 502, Verdict: ipallow.Allowed}, "Failed", ""},
		{usagelog.Record{KeyID: id, Method: "GET", Path: "/", Verdict: ipallow.Unrestricted}, "No answer", ""},
	} {
		c.rec.Time = r.clock.now().Add(time.Duration(i-100) * time.Second)
		r.add(c.rec)
		row := logRows.FindString(b.get("/logs").body)
		require.Contains(t, row, c.text, "%d", i)
		if c.allow == "" {
			require.NotContains(t, row, "Allow", "%d", i)
			continue
		}
		m := regexp.MustCompile(`href="([^"]*\?add=[^"]*)"`).FindStringSubmatch(row)
		require.NotNil(t, m, "%d", i)
		a := b.get(m[1])
		require.Equal(t, c.allow, a.form()["entry"][1])
	}
	require.Equal(t, 5, strings.Count(b.get("/logs").body, `class="blocked"`))
}

// A row says which entry let the request in, as the list had it then.
func TestLogMatchedEntry(t *testing.T) {
	r := newRig(t)
	b := r.browser(true).login()
	id := r.create("Billing", "203.0.113.0/24").Key.ID
	rec := served(id)
	rec.Entry, rec.Label = netip.MustParsePrefix("203.0.113.0/24"), "<b>office</b>\u3164"
	r.add(rec)
	row := logRows.FindString(b.get("/logs").body)
	require.Contains(t, row, "matched <code>203.0.113.0/24</code>")
	require.Contains(t, row, "&lt;b&gt;office&lt;/b&gt;")
	require.NotContains(t, row, "\u3164", "a filler is shown as its code point")
	require.NotContains(t, row, " in <bdi>")
	rec.Entry, rec.Label, rec.List = netip.MustParsePrefix("203.0.113.9/32"), "", "cloud"
	rec.Time = r.clock.now()
	r.add(rec, blocked(id, "198.51.100.7"))
	rows := logRows.FindAllString(b.get("/logs").body, -1)
	require.Len(t, rows, 3)
	require.Contains(t, rows[0], "matched <code>203.0.113.9</code></span> <span>in <bdi>cloud</bdi>")
	for _, row := range rows {
		require.NotEqual(t, strings.Contains(row, "Blocked"), strings.Contains(row, "matched"), row)
	}
}

// The filter reported shows a request whatever the API answered it with, before an
// operator enforces the list.
func TestReportedWhateverTheAnswer(t *testing.T) {
	r := newRig(t)
	b := r.browser(true).login()
	id := r.create("Billing", "203.0.113.0/24").Key.ID
	for _, status := range []int{200, 302, 404, 500} {
		rec := blocked(id, "198.51.100.1")
		rec.Status, rec.Path = status, fmt.Sprint("/", status)
		r.add(rec)
	}
	r.add(served(id), blocked(id, "198.51.100.7"))
	rows := logRows.FindAllString(b.get("/logs?status=reported").body, -1)
	require.Len(t, rows, 4)
	for _, row := range rows {
		require.Contains(t, row, "Not in the list")
	}
}

func TestLogFilters(t *testing.T) {
	r := newRig(t)
	b := r.browser(true).login()
	one, two := r.create("Billing worker").Key.ID, r.create("Billing page").Key.ID
	old := served(one)
	old.Time, old.Path = r.clock.now().Add(-20*24*time.Hour), "/old"
	post := served(two)
	post.Method, post.Path = "POST", "/post"
	denied := blocked(one, "198.51.100.7")
	denied.Path = "/blocked"
	r.add(old, served(one), post, denied)
	for query, want := range map[string][]string{
		"":                                      {"/v1/ping", "/post", "/blocked"},
		"period=all":                            {"/old", "/v1/ping", "/post", "/blocked"},
		"period=30d":                            {"/old", "/v1/ping", "/post", "/blocked"},
		"period=1h&status=2xx":                  {"/v1/ping", "/post"},
		"period=nonsense":                       {"/v1/ping", "/post", "/blocked"},
		"key=" + one:                            {"/v1/ping", "/blocked"},
		"key=ipk_" + one:                        {"/v1/ping", "/blocked"},
		"key=worker":                            {"/v1/ping", "/blocked"},
		"key=billing+PAGE":                      {"/post"},
		"key=aaaaaaaaaaaaaaaa":                  nil,
		"method=post":                           {"/post"},
		"method=POST&key=" + one:                nil,
		"status=blocked":                        {"/blocked"},
		"status=403":                            {"/blocked"},
		"status=4XX":                            {"/blocked"},
		"status=reported":                       nil,
		"status=200&method=GET":                 {"/v1/ping"},
		"from=2026-11-01T00:00&to=2026-11-10":   {"/old"},
		"to=2026-11-24T14:00":                   {"/old"},
		"from=2026-11-24T14:00":                 {"/v1/ping", "/post", "/blocked"},
		"from=2026-11-24T14:00:00Z":             {"/v1/ping", "/post", "/blocked"},
		"from=2026-11-24T16:00:00%2B02:00":      {"/v1/ping", "/post", "/blocked"},
		"from=2026-11-25T00:00":                 nil,
		"from=2026-11-24T14:00&period=30d":      {"/v1/ping", "/post", "/blocked"},
		"key=&method=&status=&from=&to=&other=": {"/v1/ping", "/post", "/blocked"},
	} {
		a := b.get("/logs?" + query)
		require.Equal(t, http.StatusOK, a.StatusCode, query)
		var got []string
		for _, row := range logRows.FindAllString(a.body, -1) {
			for _, path := range []string{"/old", "/v1/ping", "/post", "/blocked"} {
				if strings.Contains(row, "<bdi>"+path+"</bdi>") {
					got = append(got, path)
				}
			}
		}
		require.ElementsMatch(t, want, got, query)
		if want == nil {
			require.Regexp(t, "No request", a.body, query)
		}
		// The file has the same records.
		file := b.get("/logs.csv?" + query)
		rows, err := csv.NewReader(strings.NewReader(file.body)).ReadAll()
		require.NoError(t, err)
		require.Len(t, rows, len(want)+1, query)
	}
	for query, want := range map[string]string{
		"key=billing":                           "Several keys have this in their name",
		"key=nobody":                            "No key has this",
		"status=9999":                           "not a status",
		"status=4x":                             "not a status",
		"status=%27+OR+1=1":                     "not a status",
		"from=yesterday":                        "Write a time",
		"to=1066-10-14T00:00":                   "Write a time",
		"from=2026-11-24T00:00&to=2026-11-23":   "must be after the beginning",
		"method=" + strings.Repeat("X", 100):    "No request",
		"method=%27%3BDROP+TABLE+records%3B--":  "No request",
		"key=%27+OR+%271%27%3D%271":             "No key has this",
		"key=%25":                               "No key has this",
		"key=_":                                 "No key has this",
		"from=2026-11-24T00:00&to=9999-01-01":   "Write a time",
		"cursor=garbage":                        "page of the list is gone",
		"key=" + strings.Repeat("%C3%A4", 2000): "No key has this",
	} {
		a := b.get("/logs?" + query)
		require.Less(t, a.StatusCode, 500, query)
		require.Contains(t, a.body, want, query)
		if !strings.Contains(query, "method=") { // any text may be a method
			require.NotContains(t, a.body, "logs.csv", query+": what is faulty cannot be exported")
		}
	}
	// A request out of scope is refused with 403 too, and is not blocked.
	scope := blocked(one, "203.0.113.9")
	scope.Verdict, scope.Path = ipallow.Allowed, "/scope"
	r.add(scope)
	require.Contains(t, b.get("/logs?status=403").body, "<bdi>/scope</bdi>")
	require.NotContains(t, b.get("/logs?status=blocked").body, "<bdi>/scope</bdi>")

	a := b.get("/logs?key=billing")
	require.Contains(t, a.body, `href="/logs?key=`+one+`"`)
	require.Contains(t, a.body, `href="/logs?key=`+two+`"`)
}

// TestLogPaging: following the links visits every record once, newest first.
func TestLogPaging(t *testing.T) {
	r := newRig(t)
	b := r.browser(true).login()
	id := r.create("Billing").Key.ID
	const n = 2*logsPerPage + 7
	for i := range n {
		rec := served(id)
		rec.Path, rec.Time = fmt.Sprintf("/%04d", i), r.clock.now().Add(-time.Duration(n-i)*time.Minute)
		r.add(rec)
	}
	var got []string
	path := "/logs?method=GET"
	for pages := 0; path != ""; pages++ {
		require.Less(t, pages, 5)
		body := b.get(path).body
		for _, m := range regexp.MustCompile(`<bdi>(/\d+)</bdi>`).FindAllStringSubmatch(body, -1) {
			got = append(got, m[1])
		}
		path = ""
		if m := nextLink.FindStringSubmatch(body); m != nil {
			path = strings.ReplaceAll(m[1], "&amp;", "&")
			require.Contains(t, path, "method=GET")
		}
		r.add(served(id)) // meanwhile
	}
	require.Len(t, got, n)
	for i, p := range got {
		require.Equal(t, fmt.Sprintf("/%04d", n-1-i), p)
	}
}

func TestNewNeedsItsOptions(t *testing.T) {
	_, err := New(Options{})
	require.Error(t, err)
}

// A deadlineWriter remembers the deadline of its connection.
type deadlineWriter struct {
	*httptest.ResponseRecorder
	deadline time.Time
}

func (w *deadlineWriter) SetWriteDeadline(t time.Time) error { w.deadline = t; return nil }

// TestConnectionAfterExport: the next answer on the connection, which may be
// that to a form, has a time of its own.
func TestConnectionAfterExport(t *testing.T) {
	w := &deadlineWriter{ResponseRecorder: httptest.NewRecorder()}
	out := &patientWriter{w, http.NewResponseController(w)}
	_, err := out.Write([]byte("x"))
	require.NoError(t, err)
	require.False(t, w.deadline.IsZero())
	require.NoError(t, out.end())
	require.True(t, w.deadline.IsZero())
	require.True(t, w.Flushed, "what was buffered went out within the limit")
}

// TestMoreFilters asks for addresses, request IDs and paths, by links too.
func TestMoreFilters(t *testing.T) {
	r := newRig(t)
	b := r.browser(true).login()
	id := r.create("Billing").Key.ID
	for i, addr := range []string{"203.0.113.5", "203.0.113.9", "198.51.100.7"} {
		rec := served(id)
		rec.ClientAddr, rec.Path, rec.RequestID = netip.MustParseAddr(addr), fmt.Sprintf("/v1/things/%d", i), fmt.Sprintf("req-%d", i)
		rec.Status, rec.Duration = 404+i, 1500*time.Millisecond
		r.add(rec)
	}
	rows := func(query string) int {
		return strings.Count(b.get("/logs?"+query).body, `data-head="Result"`)
	}
	for query, want := range map[string]int{
		"address=203.0.113.0/24": 2, "address=203.0.113.5": 1, "address=::ffff:203.0.113.5": 1, "address=2001:db8::/32": 0,
		"request=req-2": 1, "request=req": 0, "path=/v1/things": 3, "path=/v1/things/1": 1, "path=/V1": 0,
		"status=404": 1, "status=4xx": 3, "address=203.0.113.0/24&status=405&path=/v1": 1,
	} {
		require.Equal(t, want, rows(query), query)
	}
	for _, query := range []string{"address=office", "address=203.0.113.5:80", "path=/a?b", "status=x"} {
		require.Equal(t, http.StatusUnprocessableEntity, b.get("/logs?"+query).StatusCode, query)
	}
	body := b.get("/logs").body
	require.Contains(t, body, "1,500 ms")
	for _, link := range []string{"/logs?address=203.0.113.9", "/logs?period=all&amp;request=req-0"} {
		require.Contains(t, body, `href="`+link+`"`)
		require.Equal(t, 1, strings.Count(b.get(html.UnescapeString(link)).body, `data-head="Result"`), link)
	}
}
