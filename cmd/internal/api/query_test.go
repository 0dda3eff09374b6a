package api

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestQueries sends parameters that cannot be right. None may be passed over.
func TestQueries(t *testing.T) {
	w := newWorld(t)
	for _, test := range []struct{ path, query, parameter, message string }{
		{"logs", "statsu=403", "statsu", "key, method, status, verdict, outcome, address, path, request_id, from, to, limit, cursor"},
		{"logs", "Status=403", "Status", "no parameter"},
		{"logs", "status=403&status=404", "status", "more than once"},
		{"logs", "status=", "status", "empty"},
		{"logs", "status", "status", "empty"},
		{"logs", "status=40", "status", "403"},
		{"logs", "status=4x", "status", "4xx"},
		{"logs", "status=0xx", "status", "4xx"},
		{"logs", "status=44xx", "status", "4xx"},
		{"logs", "status=-1xx", "status", "4xx"},
		{"logs", "status=+403", "status", "403"},
		{"logs", "status=1000", "status", "403"},
		{"logs", "status=040", "status", "403"},
		{"logs", "status=4XX", "status", "4xx"},
		{"logs", "method=get", "method", "GET or POST"},
		{"logs", "method=GET%20", "method", "GET"},
		{"logs", "method=" + strings.Repeat("A", 33), "method", "GET"},
		{"logs", "verdict=Denied", "verdict", "denied, allowed or unrestricted"},
		{"logs", "verdict=0", "verdict", "denied"},
		{"logs", "key=x", "key", "identifier"},
		{"logs", "key=ipk_aaaaaaaaaaaaaaaa_" + strings.Repeat("x", 43), "key", "not more of the token"},
		{"logs", "from=yesterday", "from", "2026-11-30T09:00:00Z"},
		{"logs", "from=2026-11-20T12:00:00+01:00", "from", "%2B"},
		{"logs", "from=2026-11-20T12:00:00", "from", "2026-11-30T09:00:00Z"},
		{"logs", "from=2026-11-31", "from", "2026-11-30"},
		{"logs", "from=1700000000", "from", "2026-11-30"},
		{"logs", "from=1969-12-31", "from", "1970"},
		{"logs", "to=9999-12-31", "to", "2261"},
		{"logs", "to=0000-01-01", "to", "1970"},
		{"logs", "from=2026-11-20&to=2026-11-20", "to", "later than from"},
		{"logs", "from=2026-11-21&to=2026-11-20", "to", "later than from"},
		{"logs", "limit=0", "limit", "1 to 1000"},
		{"logs", "limit=1001", "limit", "1 to 1000"},
		{"logs", "limit=-1", "limit", "1 to 1000"},
		{"logs", "limit=1e3", "limit", "1 to 1000"},
		{"logs", "limit=010", "limit", "1 to 1000"},
		{"logs", "limit=99999999999999999999", "limit", "1 to 1000"},
		{"logs", "cursor=x", "cursor", "Begin again"},
		{"logs", "cursor=" + strings.Repeat("A", 34), "cursor", "Begin again"},
		{"logs", "a;b", "", "cannot be read"},
		{"logs", "key=%zz", "", "cannot be read"},
		{"logs", "key=" + strings.Repeat("a", 5000), "", "longer than 4096"},
		{"logs/summary", "width=2h", "width", "1m, 5m, 15m"},
		{"logs/summary", "limit=5", "limit", "width"},
		{"logs/summary", "from=2026-11-20&to=2026-11-25&width=1m", "width", "more than 1500"},
		{"keys", "revoked=1", "revoked", "true or false"},
		{"keys", "limit=501", "limit", "1 to 500"},
		{"keys", "search=", "search", "empty"},
		{"keys", "cursor=%00", "cursor", "Begin again"},
		{"audit", "key=a'", "key", "identifier"},
		{"audit", "cursor=-1", "cursor", "Begin again"},
		{"audit", "from=2026-11-20", "from", "key, limit, cursor"},
		{"keys/aaaaaaaaaaaaaaaa", "verbose=1", "verbose", "takes none"},
		{"keys", strings.Repeat("x", 100) + "=1", strings.Repeat("x", 40) + "…", "no parameter"},
	} {
		e := w.get("/api/v1/"+test.path+"?"+test.query).fails(400, "INVALID_QUERY")
		require.Equal(t, test.parameter, e.Parameter, test.query)
		require.Contains(t, e.Message, test.message, test.query)
	}
}

// hostile are texts that have broken other programs.
var hostile = []string{
	`' OR '1'='1`, `'; DROP TABLE keys; --`, `" OR ""="`, `1 UNION SELECT hash FROM keys`, `\`, `%`, `_`, `*`, `?`, `$(id)`, "`id`", `{{7*7}}`, `${7*7}`,
	`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `javascript:alert(1)`, `</script>`, `=1+1`, `@SUM(A1)`, "a\u202eb", "\ufeff", "é", "e\u0301", "😀",
	`../../etc/passwd`, `%00`, `a%0d%0aSet-Cookie:x=1`, strings.Repeat("ä", 90), `null`, `true`, `0`, `[]`, `{"$gt":""}`,
}

// TestHostileFilters puts them into every filter. A filter that knows what it
// wants refuses them, and the search finds nothing.
func TestHostileFilters(t *testing.T) {
	w := newWorld(t)
	w.create("a", "203.0.113.0/24")
	w.fillLog()
	routes := []string{"logs", "logs.csv", "logs/summary"}
	for i, s := range append(hostile, "a\r\nb", "\x00") {
		v := url.QueryEscape(s)
		for j, name := range filterNames {
			if name == "method" && isMethod(s) {
				continue
			}
			if name == "path" || name == "request_id" { // any text may be one
				var page logPage
				if a := w.get("/api/v1/logs?" + name + "=" + v); a.StatusCode != 400 {
					a.ok(200, &page)
					require.Empty(t, page.Records, "%s=%q", name, s)
				}
				continue
			}
			w.get("/api/v1/"+routes[(i+j)%len(routes)]+"?"+name+"="+v).fails(400, "INVALID_QUERY")
		}
		for _, query := range []string{"logs?cursor=", "logs?limit=", "audit?key=", "audit?cursor=", "keys?cursor=", "keys?limit=", "keys?revoked=", "keys?order=", "logs/summary?width="} {
			if query == "keys?revoked=" && s == "true" {
				continue
			}
			w.get("/api/v1/"+query+v).fails(400, "INVALID_QUERY")
		}
		if !strings.Contains("203.0.113.0/24", s) { // it is a part of the key's entry
			require.Empty(t, w.list("?search="+v).Keys, "%q", s)
		}
	}
	require.Len(t, w.list("").Keys, 1)
}

// TestHostileTexts stores them and reads them back as they were.
func TestHostileTexts(t *testing.T) {
	w := newWorld(t)
	for _, s := range hostile {
		var made createdView
		a := w.post("/api/v1/keys", object{
			"name": s, "description": s, "scopes": []string{"read"}, "allowlist": []object{{"entry": "203.0.113.0/24", "label": s}},
		})
		if a.StatusCode == 422 {
			e := a.fails(422, "INVALID_INPUT")
			require.Equal(t, "name", e.Faults[0].Field, "%q", s)
			continue
		}
		a.ok(201, &made)
		require.NotContains(t, a.text, "<", "what could be markup is escaped")
		require.Equal(t, s, made.Name)
		var k keyView
		w.get("/api/v1/keys/"+made.ID).ok(200, &k)
		require.Equal(t, s, k.Name)
		require.Equal(t, s, k.Description)
		list, _ := w.allowlist(made.ID)
		require.Equal(t, s, list.Entries[0].Label)
		rec := w.audit("?key=" + made.ID).Records[0]
		require.Equal(t, s, rec.KeyName)
		require.Equal(t, s, rec.After.Allowlist[0].Label)
		require.Equal(t, made.ID, w.list("?search=" + url.QueryEscape(s)).Keys[0].ID, "%q", s)
		// As an entry it is a fault, quoted as it came.
		e := w.put(made.ID, object{"entries": []object{{"entry": s}}}).fails(422, "INVALID_INPUT")
		require.Equal(t, s, e.Faults[0].Input)
	}
}

// Answers hold no character that a terminal would hide or obey, and are the same data.
func TestHiddenCharactersAreEscaped(t *testing.T) {
	w := newWorld(t)
	for _, hidden := range []string{"\u202e", "\u3164", "\u2800", "\ufe0f", "\U000e0041", "\u2028"} {
		name := "pay" + hidden + "roll"
		id := w.create(name).ID
		for _, path := range []string{"/api/v1/keys", "/api/v1/keys/" + id, "/api/v1/audit", "/api/v1/logs?method=" + url.QueryEscape(hidden)} {
			require.NotContains(t, w.get(path).text, hidden, path)
		}
		var key struct{ Name string }
		require.NoError(t, json.Unmarshal([]byte(w.get("/api/v1/keys/"+id).text), &key))
		require.Equal(t, name, key.Name)
	}
}
