package api

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow/cmd/internal/keyring"
	"github.com/ipallow/ipallow/cmd/internal/manage"
)

type keyPage struct {
	Keys     []keyView `json:"keys"`
	Next     string    `json:"next"`
	Previous string    `json:"previous"`
	Total    int       `json:"total"`
}

func TestCreateKey(t *testing.T) {
	w := newWorld(t)
	before := time.Now().Add(-time.Second)
	var made createdView
	a := w.post("/api/v1/keys", object{
		"name": " billing ", "description": "nightly\r\ninvoices", "scopes": []string{"write", "read"}, "report_only": true,
		"allowlist": []object{{"entry": "203.0.113.5", "label": "office"}, {"entry": "::ffff:198.51.100.0/120"}, {"entry": "2001:DB8::1"}, {"entry": "198.51.100.7"}},
	}).ok(201, &made)
	require.Equal(t, "/api/v1/keys/"+made.ID, a.Header.Get("Location"))
	require.True(t, strings.HasPrefix(made.Secret, "ipk_"+made.ID+"_"))
	require.Len(t, made.Secret, keyring.TokenLen)

	require.Equal(t, "billing", made.Name)
	require.Equal(t, "nightly\ninvoices", made.Description)
	require.Equal(t, []string{"read", "write"}, made.Scopes)
	require.True(t, made.ReportOnly)
	require.Equal(t, "active", made.Status)
	require.True(t, made.Restricted)
	require.Equal(t, 4, made.Entries)
	require.Nil(t, made.RevokedAt)
	require.Nil(t, made.LastUsedAt)
	require.True(t, made.CreatedAt.After(before) && made.CreatedAt.Before(time.Now().Add(time.Second)))
	require.Equal(t, []manage.ListEntry{
		{Entry: "203.0.113.5/32", Label: "office"}, {Entry: "198.51.100.0/24"}, {Entry: "2001:db8::1/128"}, {Entry: "198.51.100.7/32"},
	}, made.Allowlist)
	require.Len(t, made.Warnings, 1)
	require.Equal(t, warning{Index: 3, By: 1, Input: "198.51.100.7/32", Code: "redundant", Reason: made.Warnings[0].Reason}, made.Warnings[0])

	// It is in force, and is what can be read back, but for its secret.
	require.NotNil(t, w.ring.Authenticate(made.Secret))
	var k keyView
	w.get(a.Header.Get("Location")).ok(200, &k)
	require.Equal(t, made.keyView, k)
	require.Equal(t, made.keyView, w.list("").Keys[0])
}

func (w *world) list(query string) keyPage {
	w.t.Helper()
	var page keyPage
	w.get("/api/v1/keys"+query).ok(200, &page)
	return page
}

func TestCreateKeyWithoutMore(t *testing.T) {
	w := newWorld(t)
	var made createdView
	a := w.post("/api/v1/keys", `{"name":"a","scopes":["read"]}`).ok(201, &made)
	require.False(t, made.Restricted)
	require.Contains(t, a.text, `"allowlist":[],"warnings":[]`)
	require.Contains(t, a.text, `"revoked_at":null,"last_used_at":null`)
}

// TestCreateKeyFaults sends everything wrong at once. Nothing is made of it.
func TestCreateKeyFaults(t *testing.T) {
	w := newWorld(t)
	e := w.post("/api/v1/keys", object{
		"name": "  ", "description": strings.Repeat("x", 1001), "scopes": []string{"read", "admin"},
		"allowlist": []object{{"entry": "203.0.113.5/24", "label": "a\x00b"}, {"entry": "203.0.113.5"}, {"entry": "10.0.0.1"}},
	}).fails(422, "INVALID_INPUT")
	require.Contains(t, e.Message, "6 faults")
	var got []string
	for _, f := range e.Faults {
		got = append(got, fmt.Sprintf("%s %d %s", f.Field, f.Index, f.Code))
		require.NotEmpty(t, f.Reason)
	}
	require.Equal(t, []string{
		"name -1 invalid_field", "description -1 invalid_field", "scopes -1 invalid_field",
		"allowlist 0 host_bits_set", "allowlist 0 label_invalid", "allowlist 2 not_public",
	}, got)
	require.Equal(t, "203.0.113.5/24", e.Faults[3].Input)
	require.Equal(t, "203.0.113.0/24 or 203.0.113.5", e.Faults[3].Suggestion)
	require.Empty(t, w.list("?revoked=true").Keys)
	require.Zero(t, w.ring.Len())
}

func TestEditKey(t *testing.T) {
	w := newWorld(t)
	made := w.create("a", "203.0.113.0/24")
	path := "/api/v1/keys/" + made.ID
	edit := func(body any) *answer { return w.do(call{method: "PATCH", path: path, body: body}) }

	want := made.keyView
	var k keyView
	for _, step := range []struct {
		body   string
		change func()
	}{
		{`{"name":"b"}`, func() { want.Name = "b" }},
		{`{"description":"d"}`, func() { want.Description = "d" }},
		{`{"description":""}`, func() { want.Description = "" }},
		{`{"scopes":["read"]}`, func() { want.Scopes = []string{"read"} }},
		{`{"report_only":true}`, func() { want.ReportOnly = true }},
		{`{"report_only":false,"name":"c","scopes":["write"]}`, func() { want.ReportOnly, want.Name, want.Scopes = false, "c", []string{"write"} }},
	} {
		step.change()
		edit(step.body).ok(200, &k)
		require.False(t, k.UpdatedAt.Before(want.UpdatedAt))
		want.UpdatedAt = k.UpdatedAt
		require.Equal(t, inForceHere, k.Propagation)
		k.Propagation = nil
		require.Equal(t, want, k, step.body)
		k = keyView{}
		w.get(path).ok(200, &k)
		require.Equal(t, want, k, step.body)
	}
	require.Equal(t, keyring.Write, w.ring.Authenticate(made.Secret).Scopes)

	e := edit(`{"name":"","description":"\u0000","scopes":[]}`).fails(422, "INVALID_INPUT")
	require.Len(t, e.Faults, 3)
	e = edit(`{}`).fails(422, "INVALID_INPUT")
	require.Equal(t, "required", e.Faults[0].Code)
	w.get(path).ok(200, &k)
	require.Equal(t, want, k)
}

func TestRotateKey(t *testing.T) {
	w := newWorld(t)
	made := w.create("a", "203.0.113.0/24")
	path := "/api/v1/keys/" + made.ID + "/rotate"
	last := made.Secret
	for _, body := range []any{nil, "", "  ", "{}", object{}} {
		var turned secretView
		w.post(path, body).ok(200, &turned)
		require.Equal(t, made.ID, turned.ID)
		require.Equal(t, 1, turned.Entries)
		require.Nil(t, w.ring.Authenticate(last))
		require.NotNil(t, w.ring.Authenticate(turned.Secret))
		last = turned.Secret
	}
}

func TestRevokeKey(t *testing.T) {
	w := newWorld(t)
	made := w.create("a")
	var gone keyView
	w.do(call{method: "DELETE", path: "/api/v1/keys/" + made.ID}).ok(200, &gone)
	require.Equal(t, "revoked", gone.Status)
	require.Equal(t, inForceHere, gone.Propagation)
	require.Nil(t, w.ring.Authenticate(made.Secret))
	require.Empty(t, w.list("").Keys)
	require.Equal(t, "revoked", w.list("?revoked=true").Keys[0].Status)
}

func TestLastUse(t *testing.T) {
	w := newWorld(t)
	made := w.create("a")
	at := time.Now().Add(time.Hour).Truncate(time.Second).UTC()
	w.ring.Get(made.ID).Used(at)
	var k keyView
	w.get("/api/v1/keys/"+made.ID).ok(200, &k)
	require.Equal(t, at, *k.LastUsedAt)
}

func TestListKeys(t *testing.T) {
	w := newWorld(t)
	require.Empty(t, w.list("").Keys)
	require.Contains(t, w.get("/api/v1/keys").text, `{"keys":[],"next":"","previous":"","total":0}`)

	var want []string
	for i := range 7 {
		want = append([]string{w.create(fmt.Sprintf("Key %d", i)).ID}, want...)
	}
	var got []string
	pages := 0
	for next := ""; ; pages++ {
		query := "?limit=3"
		if next != "" {
			query += "&cursor=" + next
		}
		page := w.list(query)
		for _, k := range page.Keys {
			got = append(got, k.ID)
		}
		if next = page.Next; next == "" {
			break
		}
	}
	require.Equal(t, want, got)
	require.Equal(t, 2, pages)

	require.Len(t, w.list("?search=kEY%203").Keys, 1)
	require.Len(t, w.list("?search="+want[2][2:9]).Keys, 1)
	require.Empty(t, w.list("?search=nothing").Keys)
	require.Empty(t, w.list("?search=%25").Keys, "a percent sign is a percent sign")
	w.get("/api/v1/keys?cursor=x").fails(400, "INVALID_QUERY")
}

// TestPreconditionsElsewhere tries If-Match where nothing has an ETag. To look
// away would be to overwrite what the caller wanted to keep.
func TestPreconditionsElsewhere(t *testing.T) {
	w := newWorld(t)
	id := w.create("a").ID
	for _, o := range operations(t, nil) {
		for _, name := range []string{"If-Match", "If-None-Match"} {
			c := o.call(t, id)
			c.header = http.Header{name: {`"x"`}}
			switch a := w.do(c); {
			case o.method == "GET":
				require.Equal(t, 200, a.StatusCode)
			case o.OperationID == "setAllowlist" && name == "If-Match":
				a.fails(412, "PRECONDITION_FAILED")
			default:
				a.fails(400, "INVALID_HEADER")
			}
		}
	}
}

// TestListConditions asks for keys by what they are, and walks both ways.
func TestListConditions(t *testing.T) {
	w := newWorld(t)
	open := w.create("open").ID
	listed := w.create("listed").ID
	w.put(listed, object{"entries": entries("203.0.0.0/16 office")}).ok(200, nil)
	ids := func(query string) (ids []string) {
		for _, k := range w.list(query).Keys {
			ids = append(ids, k.ID)
		}
		return ids
	}
	for query, want := range map[string][]string{
		"?restricted=false": {open}, "?restricted=true": {listed}, "?broad=true": {listed}, "?unused=true": {listed, open},
		"?search=203.0.113.5": {listed}, "?search=office": {listed}, "?order=name": {listed, open}, "?order=created": {listed, open},
		"?search=198.51.100.1": nil, "?restricted=false&broad=true": nil,
	} {
		require.Equal(t, want, ids(query), query)
	}
	first := w.list("?limit=1&order=name")
	require.Equal(t, 2, first.Total)
	require.Empty(t, first.Previous)
	second := w.list("?limit=1&order=name&cursor=" + first.Next)
	require.Equal(t, open, second.Keys[0].ID)
	require.Empty(t, second.Next)
	require.Equal(t, first.Keys, w.list("?limit=1&order=name&cursor="+second.Previous).Keys)
	for _, query := range []string{"?restricted=maybe", "?order=NAME", "?unused=1", "?broad="} {
		w.get("/api/v1/keys"+query).fails(400, "INVALID_QUERY")
	}
}
