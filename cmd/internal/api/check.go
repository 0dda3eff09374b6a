package api

import (
	"fmt"
	"net/http"
	"net/netip"
	"time"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/cmd/internal/manage"
)

// A seenAddress is an address from which a key was used.
type seenAddress struct {
	Address  netip.Addr `json:"address"`
	LastSeen *time.Time `json:"last_seen_at"`
	Requests int64      `json:"requests"`
	Blocked  int64      `json:"blocked"`
	Caller   bool       `json:"caller"`
}

// seenAddresses is never nil.
func seenAddresses(list []manage.SeenAddress) []seenAddress {
	views := make([]seenAddress, len(list))
	for i, s := range list {
		views[i] = seenAddress{s.Addr, moment(s.Last), s.Served, s.Blocked, s.Caller}
	}
	return views
}

// A trialView is what a list would do.
type trialView struct {
	Results          []trialResult `json:"results"`
	Warnings         []warning     `json:"warnings"`
	WouldUnrestrict  bool          `json:"would_unrestrict"`
	WouldLockOut     bool          `json:"would_lock_out"`
	LockoutAddresses []seenAddress `json:"lockout_addresses"`
	LockoutTotal     int           `json:"lockout_total"`
}

type trialResult struct {
	Address netip.Addr      `json:"address"`
	Verdict ipallow.Verdict `json:"verdict"`
	Served  bool            `json:"served"`
	Match   *match          `json:"match"`
}

// A match is the most specific entry that matches.
type match struct {
	Index int    `json:"index"`
	Entry string `json:"entry"`
	Label string `json:"label"`
}

// checkAllowlist tries addresses on the stored list or on a proposed one.
func (h *handler) checkAllowlist(w http.ResponseWriter, r *http.Request) error {
	id, err := plain(r, false)
	if err != nil {
		return err
	}
	var body struct {
		Address   *string             `json:"address"`
		Addresses []string            `json:"addresses"`
		Entries   *[]manage.ListEntry `json:"entries"`
	}
	if err := readBody(w, r, &body); err != nil {
		return err
	}
	field, texts := "addresses", body.Addresses
	switch {
	case body.Address != nil && texts != nil:
		return invalid(fault{Field: "address", Index: -1, Code: faultField, Input: cut(*body.Address, 100),
			Reason: "give address or addresses, not both"})
	case body.Address != nil:
		field, texts = "address", []string{*body.Address}
	case len(texts) == 0 && body.Entries == nil:
		return invalid(required("address", "say what to try: an address, several addresses, or entries for a list that is not saved yet"))
	}
	addrs, err := parseAddrs(field, texts)
	if err != nil {
		return err
	}
	trial, err := h.manager.Try(r.Context(), h.actor(r), id, body.Entries, addrs)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, viewTrial(&trial))
	return nil
}

func viewTrial(t *manage.Trial) trialView {
	v := trialView{
		Results:          make([]trialResult, len(t.Results)),
		Warnings:         viewWarnings(t.Warnings),
		WouldUnrestrict:  t.Unrestricts,
		WouldLockOut:     t.Lockout != nil,
		LockoutAddresses: []seenAddress{},
	}
	for i, res := range t.Results {
		v.Results[i] = trialResult{Address: res.Addr, Verdict: res.Verdict, Served: res.Verdict.OK()}
		if res.Match != nil {
			v.Results[i].Match = &match{res.Index, res.Match.String(), res.Match.Label}
		}
	}
	if t.Lockout != nil {
		v.LockoutAddresses, v.LockoutTotal = seenAddresses(t.Lockout.Addresses), t.Lockout.Total
	}
	return v
}

// parseAddrs reads addresses in the form that clients have: no networks, no
// ports.
func parseAddrs(field string, texts []string) ([]netip.Addr, error) {
	if len(texts) > manage.MaxTrial {
		return nil, invalid(fault{Field: field, Index: -1, Code: faultTooMany,
			Reason:     fmt.Sprintf("%d addresses are too many for one request; send some of them in another", len(texts)),
			Suggestion: fmt.Sprintf("at most %d addresses", manage.MaxTrial)})
	}
	addrs := make([]netip.Addr, len(texts))
	var faults []fault
	for i, s := range texts {
		var err error
		if addrs[i], err = netip.ParseAddr(s); err == nil {
			continue
		}
		f := fault{Field: field, Index: i, Input: cut(s, 100), Code: faultAddress,
			Reason: "it is not an IPv4 or IPv6 address; write one without a port or a prefix length"}
		if ap, err := netip.ParseAddrPort(s); err == nil {
			f.Suggestion = ap.Addr().String()
		} else if p, err := netip.ParsePrefix(s); err == nil {
			f.Suggestion = p.Addr().String()
		}
		faults = append(faults, f)
	}
	if faults != nil {
		return nil, invalid(faults...)
	}
	return addrs, nil
}
