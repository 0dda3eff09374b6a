package main

// The codes and the verdicts of the specification.
const (
	invalidSyntax  = "invalid_syntax"
	zoneNotAllowed = "zone_not_allowed"
	hostBitsSet    = "host_bits_set"
	tooBroad       = "too_broad"
	notPublic      = "not_public"
	duplicate      = "duplicate"
	tooManyEntries = "too_many_entries"
	labelTooLong   = "label_too_long"
	labelInvalid   = "label_invalid"
	redundant      = "redundant"

	denied       = "denied"
	allowed      = "allowed"
	unrestricted = "unrestricted"
)

// policy has the members in which a case differs from the default policy.
type policy map[string]any

type text struct {
	Entry    string  `json:"entry"`
	Label    string  `json:"label,omitempty"`
	LabelHex *string `json:"label_hex,omitempty"`
}

type entryCase struct {
	Name   string    `json:"name"`
	Reason string    `json:"reason"`
	Policy policy    `json:"policy,omitempty"`
	Entry  string    `json:"entry"`
	Want   entryWant `json:"want"`
}

type entryWant struct {
	Canonical string   `json:"canonical,omitempty"`
	Code      string   `json:"code,omitempty"`
	Suggest   []string `json:"suggest,omitzero"`
}

type listCase struct {
	Name    string   `json:"name"`
	Reason  string   `json:"reason"`
	Policy  policy   `json:"policy,omitempty"`
	Entries []text   `json:"entries"`
	Want    listWant `json:"want"`
}

// listWant has either entries and warnings, or faults.
type listWant struct {
	Entries  []text    `json:"entries,omitzero"`
	Warnings []warning `json:"warnings,omitzero"`
	Faults   []fault   `json:"faults,omitzero"`
}

type warning struct {
	Index int    `json:"index"`
	Code  string `json:"code"`
}

type fault struct {
	Index int    `json:"index"`
	Code  string `json:"code"`
	First *int   `json:"first,omitempty"`
}

type verdictCase struct {
	Name    string      `json:"name"`
	Reason  string      `json:"reason"`
	Policy  policy      `json:"policy,omitempty"`
	Entries []text      `json:"entries"`
	Address string      `json:"address"`
	Want    verdictWant `json:"want"`
}

type verdictWant struct {
	Verdict string `json:"verdict"`
	Match   *match `json:"match,omitempty"`
}

type match struct {
	Index int    `json:"index"`
	Entry string `json:"entry"`
	Label string `json:"label,omitempty"`
}

type sequenceCase struct {
	Name            string       `json:"name"`
	Reason          string       `json:"reason"`
	Policy          policy       `json:"policy,omitempty"`
	DenyUntilLoaded bool         `json:"deny_until_loaded,omitempty"`
	Steps           []step       `json:"steps"`
	Want            sequenceWant `json:"want"`
}

type step struct {
	Op      string   `json:"op"`
	Key     *string  `json:"key,omitempty"`
	Entries []text   `json:"entries,omitzero"`
	Changes []change `json:"changes,omitzero"`
	Lists   []list   `json:"lists,omitzero"`
	Name    string   `json:"name,omitempty"`
	Probes  []probe  `json:"probes,omitempty"`
}

type change struct {
	Op      string `json:"op"`
	Key     string `json:"key"`
	Entries []text `json:"entries,omitzero"`
}

type list struct {
	Key     string `json:"key"`
	Entries []text `json:"entries"`
}

type probe struct {
	Op       string  `json:"op"`
	Key      string  `json:"key"`
	Address  *string `json:"address,omitempty"`
	Snapshot string  `json:"snapshot,omitempty"`
}

type sequenceWant struct {
	Steps []stepWant `json:"steps"`
}

type stepWant struct {
	OK       bool        `json:"ok"`
	Revision string      `json:"revision"`
	Probes   []probeWant `json:"probes,omitempty"`
}

type probeWant struct {
	Verdict string `json:"verdict,omitempty"`
	Match   *match `json:"match,omitempty"`
	Entries []text `json:"entries,omitzero"`
}
