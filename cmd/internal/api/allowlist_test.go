package api

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/cmd/internal/manage"
)

// put sends a list, with If-Match if there are tags.
func (w *world) put(id string, body any, tags ...string) *answer {
	w.t.Helper()
	c := call{method: "PUT", path: "/api/v1/keys/" + id + "/allowlist", body: body}
	if tags != nil {
		c.header = http.Header{"If-Match": tags}
	}
	return w.do(c)
}

func (w *world) allowlist(id string) (listView, string) {
	w.t.Helper()
	var list listView
	a := w.get("/api/v1/keys/"+id+"/allowlist").ok(200, &list)
	return list, a.Header.Get("ETag")
}

func TestSetAllowlist(t *testing.T) {
	w := newWorld(t)
	id := w.create("a").ID
	list, tag := w.allowlist(id)
	require.Empty(t, list.Entries)
	require.False(t, list.Restricted)
	require.Nil(t, list.UpdatedAt)
	require.Equal(t, codeUnrestricted, list.Warnings[0].Code)
	require.Regexp(t, `^"[^"]+"$`, tag)

	var set listView
	a := w.put(id, object{"entries": entries("203.0.113.5 office", "::ffff:198.51.100.7", "198.51.100.0/24 vpn")}, tag).ok(200, &set)
	require.True(t, set.Restricted)
	require.Equal(t, []manage.ListEntry{
		{Entry: "203.0.113.5/32", Label: "office"}, {Entry: "198.51.100.7/32"}, {Entry: "198.51.100.0/24", Label: "vpn"},
	}, set.Entries)
	require.Len(t, set.Warnings, 1)
	require.Equal(t, "redundant", set.Warnings[0].Code)
	require.Equal(t, 1, set.Warnings[0].Index)
	require.Equal(t, 2, set.Warnings[0].By)
	require.NotEqual(t, tag, a.Header.Get("ETag"))

	// It is in force, and reads back the same.
	require.Equal(t, ipallow.Denied, w.engine.Check(id, netip.MustParseAddr("192.0.2.1")))
	require.Equal(t, ipallow.Allowed, w.engine.Check(id, netip.MustParseAddr("198.51.100.200")))
	list, tag = w.allowlist(id)
	require.Equal(t, inForceHere, set.Propagation)
	set.Propagation = nil
	require.Equal(t, set, list)
	require.Equal(t, a.Header.Get("ETag"), tag)

	// The same once more changes nothing.
	a = w.put(id, object{"entries": list.Entries}, tag).ok(200, &set)
	require.Equal(t, tag, a.Header.Get("ETag"))
	require.Equal(t, list.UpdatedAt, set.UpdatedAt)
}

// TestTwoEditors read the same list and save one after the other.
func TestTwoEditors(t *testing.T) {
	w := newWorld(t)
	id := w.create("a", "203.0.113.0/24 office").ID
	_, annas := w.allowlist(id)
	_, bertas := w.allowlist(id)
	require.Equal(t, annas, bertas)

	a := w.put(id, object{"entries": entries("203.0.113.0/24 office", "198.51.100.7 Anna")}, annas).ok(200, nil)
	e := w.put(id, object{"entries": entries("203.0.113.0/24 office", "192.0.2.9 Berta")}, bertas).fails(412, "PRECONDITION_FAILED")
	require.Contains(t, e.Message, "Read it again")

	list, bertas := w.allowlist(id)
	require.Equal(t, a.Header.Get("ETag"), bertas)
	require.Equal(t, "Anna", list.Entries[1].Label)
	w.put(id, object{"entries": append(list.Entries, entries("192.0.2.9 Berta")...)}, bertas).ok(200, &list)
	require.Len(t, list.Entries, 3)

	// A list that is as it was once is not the same one.
	_, before := w.allowlist(id)
	w.put(id, object{"entries": entries("192.0.2.1")}).ok(200, nil)
	w.put(id, object{"entries": list.Entries}).ok(200, nil)
	w.put(id, object{"entries": entries("192.0.2.2")}, before).fails(412, "PRECONDITION_FAILED")
	// Nor is that of another key.
	other := w.create("b", "203.0.113.0/24 office").ID
	_, now := w.allowlist(id)
	_, others := w.allowlist(other)
	require.NotEqual(t, now, others)
}

func TestIfMatch(t *testing.T) {
	w := newWorld(t)
	id := w.create("a", "203.0.113.0/24").ID
	n := 0
	for _, test := range []struct {
		tags   []string // TAG stands for the one of the list
		status int
	}{
		{[]string{`TAG`}, 200},
		{[]string{` TAG `}, 200},
		{[]string{`*`}, 200},
		{[]string{` * `}, 200},
		{[]string{`"x", TAG`}, 200},
		{[]string{`TAG,"x"`}, 200},
		{[]string{`"x"`, `TAG`}, 200},
		{[]string{`"a,b" , TAG ,`}, 200},
		{[]string{`W/"x", TAG`}, 200},
		{[]string{`W/TAG`}, 412},
		{[]string{`W/TAG, "x"`}, 412},
		{[]string{`W/TAG, W/"x"`}, 412},
		{[]string{`"x"`}, 412},
		{[]string{`"x", "y"`}, 412},
		{[]string{`"*"`}, 412},
		{[]string{`TAG extra`}, 400},
		{[]string{`w/TAG`}, 400},
		{[]string{`x`}, 400},
		{[]string{`"x`}, 400},
		{[]string{`x"`}, 400},
		{[]string{`""`}, 400},
		{[]string{`TAG"x"`}, 400},
		{[]string{`*, TAG`}, 400},
		{[]string{`TAG, *`}, 400},
		{[]string{``}, 400},
		{[]string{`,`}, 400},
		{[]string{strings.Repeat(`"x",`, 300)}, 412},
	} {
		_, tag := w.allowlist(id)
		var tags []string
		for _, s := range test.tags {
			tags = append(tags, strings.ReplaceAll(s, "TAG", tag))
		}
		n++
		a := w.put(id, object{"entries": entries("203.0.113." + string('0'+rune(n%10)))}, tags...)
		require.Equal(t, test.status, a.StatusCode, "%q: %s", test.tags, a.text)
		list, now := w.allowlist(id)
		require.Equal(t, test.status != 200, now == tag, "%q: %v", test.tags, list)
		switch test.status {
		case 400:
			require.Contains(t, a.fails(400, "INVALID_HEADER").Message, "If-Match")
		case 412:
			a.fails(412, "PRECONDITION_FAILED")
		}
	}
	w.do(call{
		method: "PUT", path: "/api/v1/keys/" + id + "/allowlist", body: object{"entries": entries("192.0.2.1")},
		header: http.Header{"If-None-Match": {"*"}},
	}).fails(400, "INVALID_HEADER")
}

func TestAllowlistFaults(t *testing.T) {
	w := newWorld(t)
	id := w.create("a", "203.0.113.0/24 office").ID
	before, tag := w.allowlist(id)
	list := []object{
		{"entry": "example.com"},
		{"entry": "fe80::1%eth0"},
		{"entry": "203.0.113.5/24"},
		{"entry": "128.0.0.0/8"},
		{"entry": "192.168.1.1"},
		{"entry": "198.51.100.7"},
		{"entry": "198.51.100.7/32", "label": strings.Repeat("ü", 101)},
		{"entry": "198.51.100.8", "label": "a\nb"},
		{"entry": "203.0.113.1-203.0.113.9"},
		{"entry": ""},
		{},
		{"entry": "<script>alert(1)</script>"},
	}
	for range 10 {
		list = append(list, object{"entry": "198.51.100.7"})
	}
	e := w.put(id, object{"entries": list}).fails(422, "INVALID_INPUT")
	codes := map[string]int{}
	for _, f := range e.Faults {
		require.Equal(t, "entries", f.Field)
		require.NotEmpty(t, f.Reason)
		codes[f.Code]++
		if f.Index >= 0 {
			want, _ := list[f.Index]["entry"].(string)
			require.Equal(t, want, f.Input)
		}
	}
	require.Equal(t, map[string]int{
		"invalid_syntax": 5, "zone_not_allowed": 1, "host_bits_set": 1, "too_broad": 1, "not_public": 1, "duplicate": 11,
		"label_too_long": 1, "label_invalid": 1, "too_many_entries": 1,
	}, codes)
	require.Empty(t, e.Faults[1].Suggestion, "fe80::1 is link-local, so it is not suggested")
	for _, f := range e.Faults {
		if f.Input == "203.0.113.1-203.0.113.9" {
			require.Equal(t, []string{"203.0.113.1", "203.0.113.2/31", "203.0.113.4/30", "203.0.113.8/31"}, f.Suggestions)
		}
	}
	last := e.Faults[len(e.Faults)-1]
	require.Equal(t, fault{Field: "entries", Index: -1, Code: "too_many_entries", Reason: last.Reason, Suggestion: "at most 20 entries"}, last)

	after, now := w.allowlist(id)
	require.Equal(t, before, after)
	require.Equal(t, tag, now)

	// Faults come before the precondition and the lock-out.
	w.served(id, "203.0.113.5", time.Minute)
	w.put(id, object{"entries": list}, `"x"`).fails(422, "INVALID_INPUT")
	w.put(id, object{"entries": entries("192.0.2.1")}, `"x"`).fails(412, "PRECONDITION_FAILED")
	w.put(id, object{"entries": entries("192.0.2.1")}).fails(409, "WOULD_LOCK_OUT")
}

// TestEnforcing ends report-only mode, which can lock out as a list can.
func TestEnforcing(t *testing.T) {
	w := newWorld(t)
	id := w.create("a", "203.0.113.0/24").ID
	edit := func(body any) *answer { return w.do(call{method: "PATCH", path: "/api/v1/keys/" + id, body: body}) }
	var key keyView
	edit(object{"report_only": true}).ok(200, &key)
	w.served(id, "192.0.2.7", time.Minute)
	e := edit(object{"report_only": false}).fails(409, "WOULD_LOCK_OUT")
	require.Len(t, e.Addresses, 1)
	require.Equal(t, "192.0.2.7", e.Addresses[0].Address.String())
	edit(object{"confirm_lockout": true}).fails(422, "INVALID_INPUT")
	edit(object{"report_only": false, "confirm_lockout": true}).ok(200, &key)
	require.False(t, key.ReportOnly)
}

// TestMissingEntries sends what could be taken for an empty list, which would
// open the key.
func TestMissingEntries(t *testing.T) {
	w := newWorld(t)
	id := w.create("a", "203.0.113.0/24").ID
	for body, status := range map[string]int{
		`{}`: 422, `{"confirm_lockout":true}`: 422,
		`{"entries":null}`: 400, `{"Entries":[]}`: 400, `{"allowlist":[]}`: 400, `[]`: 400, `null`: 400, ``: 400, `{"entries":{}}`: 400, `{"entries":""}`: 400,
	} {
		require.Equal(t, status, w.put(id, body).StatusCode, body)
	}
	require.Equal(t, ipallow.Denied, w.engine.Check(id, netip.MustParseAddr("192.0.2.1")))
}

// TestLastEntryRemoved unrestricts the key, as the user wishes, and says so:
// beforehand in the check, afterwards in the answer.
func TestLastEntryRemoved(t *testing.T) {
	w := newWorld(t)
	id := w.create("a", "203.0.113.0/24").ID
	w.served(id, "203.0.113.5", time.Minute)

	var trial trialView
	w.post("/api/v1/keys/"+id+"/allowlist/check", object{"entries": []object{}, "addresses": []string{"192.0.2.1"}}).ok(200, &trial)
	require.True(t, trial.WouldUnrestrict)
	require.False(t, trial.WouldLockOut)
	require.Equal(t, ipallow.Unrestricted, trial.Results[0].Verdict)

	var list listView
	w.put(id, object{"entries": []object{}}).ok(200, &list)
	require.Empty(t, list.Entries)
	require.False(t, list.Restricted)
	require.Equal(t, []warning{{Index: -1, By: -1, Code: "unrestricted", Reason: list.Warnings[0].Reason}}, list.Warnings)
	require.Equal(t, ipallow.Unrestricted, w.engine.Check(id, netip.MustParseAddr("192.0.2.1")))

	var k keyView
	w.get("/api/v1/keys/"+id).ok(200, &k)
	require.False(t, k.Restricted)
	w.post("/api/v1/keys/"+id+"/allowlist/check", object{"entries": []object{}}).ok(200, &trial)
	require.False(t, trial.WouldUnrestrict, "it is unrestricted already")
}

// TestLockout follows the story of an administrator who forgets an office.
func TestLockout(t *testing.T) {
	w := newWorld(t)
	id := w.create("a").ID
	w.served(id, "203.0.113.5", time.Minute)
	w.served(id, "203.0.113.5", time.Hour)
	w.served(id, "198.51.100.7", 2*time.Hour)
	w.served(id, "2001:db8::9", 3*time.Hour)
	w.served(id, "192.0.2.200", 8*24*time.Hour) // long ago
	w.served(w.create("b").ID, "192.0.2.99", time.Minute)
	proposed := entries("203.0.113.0/24 office")

	// The check says it before.
	var trial trialView
	check := "/api/v1/keys/" + id + "/allowlist/check"
	w.do(call{method: "POST", path: check, body: object{"entries": proposed}, by: "192.0.2.50"}).ok(200, &trial)
	require.True(t, trial.WouldLockOut)
	want := []string{"192.0.2.50", "198.51.100.7", "2001:db8::9"}
	require.Equal(t, want, addressesOf(trial.LockoutAddresses))

	// The save says the same and is not made.
	_, tag := w.allowlist(id)
	save := call{method: "PUT", path: "/api/v1/keys/" + id + "/allowlist", body: object{"entries": proposed}, by: "192.0.2.50", header: http.Header{"If-Match": {tag}}}
	e := w.do(save).fails(409, "WOULD_LOCK_OUT")
	require.Contains(t, e.Message, "confirm_lockout")
	require.Equal(t, want, addressesOf(e.Addresses))
	require.Equal(t, 3, e.AddressesTotal)
	require.Equal(t, 3, trial.LockoutTotal)
	require.EqualValues(t, 1, e.Addresses[1].Requests)
	require.False(t, e.Addresses[1].Caller)
	require.WithinDuration(t, time.Now().Add(-2*time.Hour), *e.Addresses[1].LastSeen, time.Minute)
	require.Equal(t, seenAddress{Address: netip.MustParseAddr("192.0.2.50"), Caller: true}, e.Addresses[0])
	require.Equal(t, ipallow.Unrestricted, w.engine.Check(id, netip.MustParseAddr("198.51.100.7")))

	save.body = object{"entries": proposed, "confirm_lockout": false}
	w.do(save).fails(409, "WOULD_LOCK_OUT")

	// Confirmed, it is made, and the audit trail says so.
	save.body = object{"entries": proposed, "confirm_lockout": true}
	w.do(save).ok(200, nil)
	require.Equal(t, ipallow.Denied, w.engine.Check(id, netip.MustParseAddr("198.51.100.7")))
	records := w.audit("?key=" + id).Records
	require.True(t, records[0].Confirmed)
	require.Equal(t, "192.0.2.50", records[0].Address.String())

	// The same list again, by a caller who is refused already, asks nothing.
	save.body, save.header = object{"entries": proposed}, nil
	w.do(save).ok(200, nil)

	// A list that takes in everybody needs no confirmation.
	w.do(call{
		method: "PUT", path: "/api/v1/keys/" + id + "/allowlist", by: "192.0.2.50",
		body: object{"entries": entries("203.0.113.0/24", "198.51.100.7", "2001:db8::/64", "192.0.2.50")},
	}).ok(200, nil)
	require.False(t, w.audit("?key=" + id).Records[0].Confirmed)
}

func addressesOf(list []seenAddress) []string {
	var texts []string
	for _, s := range list {
		texts = append(texts, s.Address.String())
	}
	return texts
}

// TestLockoutUnknown closes the usage log: nobody knows who would be locked out.
func TestLockoutUnknown(t *testing.T) {
	w := newWorld(t)
	id := w.create("a").ID
	require.NoError(t, w.logs.Close())
	a := w.put(id, object{"entries": entries("203.0.113.0/24")})
	require.Contains(t, a.fails(503, "LOCKOUT_UNKNOWN").Message, "confirm_lockout")
	require.NotEmpty(t, a.Header.Get("Retry-After"))
	w.put(id, object{"entries": entries("203.0.113.0/24"), "confirm_lockout": true}).ok(200, nil)
}
