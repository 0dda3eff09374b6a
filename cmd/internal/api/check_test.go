package api

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/cmd/internal/manage"
)

func TestCheck(t *testing.T) {
	w := newWorld(t)
	id := w.create("a", "203.0.113.0/24 office", "203.0.113.128/25 lab", "2001:db8::/48").ID
	path := "/api/v1/keys/" + id + "/allowlist/check"
	_, tag := w.allowlist(id)

	var trial trialView
	w.post(path, object{"address": "203.0.113.200"}).ok(200, &trial)
	require.Len(t, trial.Results, 1)
	require.Equal(t, ipallow.Allowed, trial.Results[0].Verdict)
	require.True(t, trial.Results[0].Served)
	require.Equal(t, &match{Index: 1, Entry: "203.0.113.128/25", Label: "lab"}, trial.Results[0].Match)
	require.Len(t, trial.Warnings, 1)

	w.post(path, object{"addresses": []string{"::ffff:203.0.113.5", "2001:DB8:0:1::1%eth0", "198.51.100.7"}}).ok(200, &trial)
	require.Len(t, trial.Results, 3)
	require.Equal(t, "office", trial.Results[0].Match.Label)
	require.Equal(t, 2, trial.Results[1].Match.Index)
	require.Equal(t, trialResult{Address: trial.Results[2].Address, Verdict: ipallow.Denied}, trial.Results[2])
	require.False(t, trial.WouldUnrestrict || trial.WouldLockOut)

	// A proposed list, with one address or several or none.
	for _, body := range []object{
		{"entries": entries("198.51.100.0/24 new"), "address": "198.51.100.7"},
		{"entries": entries("198.51.100.0/24 new"), "addresses": []string{"198.51.100.7"}},
	} {
		w.post(path, body).ok(200, &trial)
		require.Equal(t, &match{Index: 0, Entry: "198.51.100.0/24", Label: "new"}, trial.Results[0].Match)
	}
	w.post(path, object{"entries": entries("198.51.100.0/24", "198.51.100.7")}).ok(200, &trial)
	require.Empty(t, trial.Results)
	require.Equal(t, "redundant", trial.Warnings[0].Code)
	w.post(path, object{"entries": entries("198.51.100.0/24"), "addresses": []string{}}).ok(200, &trial)

	// Nothing was changed.
	_, now := w.allowlist(id)
	require.Equal(t, tag, now)
	require.Len(t, w.audit("").Records, 1)
}

func TestCheckOfAnUnrestrictedKey(t *testing.T) {
	w := newWorld(t)
	var trial trialView
	w.post("/api/v1/keys/"+w.create("a").ID+"/allowlist/check", object{"address": "203.0.113.5"}).ok(200, &trial)
	require.Equal(t, ipallow.Unrestricted, trial.Results[0].Verdict)
	require.True(t, trial.Results[0].Served)
	require.Nil(t, trial.Results[0].Match)
}

func TestCheckFaults(t *testing.T) {
	w := newWorld(t)
	path := "/api/v1/keys/" + w.create("a").ID + "/allowlist/check"

	e := w.post(path, object{"addresses": []string{
		"203.0.113.5", "203.0.113.5:443", "203.0.113.0/24", "example.com", "", "[2001:db8::1]:80", "203.0.113.05", " 203.0.113.5", "<b>", "1",
	}}).fails(422, "INVALID_INPUT")
	require.Len(t, e.Faults, 9)
	for i, f := range e.Faults {
		require.Equal(t, "addresses", f.Field)
		require.Equal(t, i+1, f.Index)
		require.Equal(t, "invalid_address", f.Code)
	}
	require.Equal(t, "203.0.113.5", e.Faults[0].Suggestion)
	require.Equal(t, "203.0.113.0", e.Faults[1].Suggestion)
	require.Equal(t, "2001:db8::1", e.Faults[4].Suggestion)

	e = w.post(path, object{"address": "nowhere"}).fails(422, "INVALID_INPUT")
	require.Equal(t, "address", e.Faults[0].Field)
	require.Equal(t, "nowhere", e.Faults[0].Input)

	e = w.post(path, object{"entries": entries("203.0.113.5/24", "x"), "address": "203.0.113.5"}).fails(422, "INVALID_INPUT")
	require.Len(t, e.Faults, 2)
	require.Equal(t, "entries", e.Faults[1].Field)

	e = w.post(path, object{}).fails(422, "INVALID_INPUT")
	require.Equal(t, "required", e.Faults[0].Code)
	w.post(path, object{"addresses": []string{}}).fails(422, "INVALID_INPUT")
	w.post(path, object{"address": "203.0.113.5", "addresses": []string{"203.0.113.5"}}).fails(422, "INVALID_INPUT")

	var many []string
	for i := range manage.MaxTrial + 1 {
		many = append(many, fmt.Sprintf("203.0.%d.%d", i/256, i%256))
	}
	e = w.post(path, object{"addresses": many}).fails(422, "INVALID_INPUT")
	require.Equal(t, "too_many_addresses", e.Faults[0].Code)
	require.Equal(t, "at most 1000 addresses", e.Faults[0].Suggestion)
	var trial trialView
	w.post(path, object{"addresses": many[1:]}).ok(200, &trial)
	require.Len(t, trial.Results, manage.MaxTrial)
}
