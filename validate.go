package ipallow

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A Policy is the limits that a list of entries must keep. Begin with
// [DefaultPolicy] and change fields.
//
// Every field means what it says, the value 0 included, so the zero Policy
// is the strictest one: it accepts only the empty list. A Policy is a plain
// value; its methods may be called from any number of goroutines.
type Policy struct {
	// MaxEntries is how many entries a list may have. Default 20. Zero and
	// less allow none.
	MaxEntries int

	// MinBits4 is the shortest length that an IPv4 network may have.
	// Default 9. Danger: 0 lets 0.0.0.0/0 pass, a list that allows everybody.
	MinBits4 int

	// MinBits6 is the shortest length that an IPv6 network may have. Default
	// 33, so that a provider's whole allocation (commonly a /32) is refused.
	// Danger: 0 lets ::/0 pass.
	MinBits6 int

	// MaxLabel is how many characters (Unicode code points) a label may
	// have. Default 100. Zero and less allow only the empty label.
	MaxLabel int

	// AllowNonPublic accepts networks that no client on the public Internet
	// can have, such as 10.0.0.0/8 and ::1. Default false. A server that is
	// reached from inside a private network needs it.
	AllowNonPublic bool
}

// DefaultPolicy returns the limits of an API key's allowlist: 20 entries,
// IPv4 networks of /9 and longer, IPv6 networks of /33 and longer, labels of
// up to 100 characters, public addresses only.
func DefaultPolicy() Policy {
	return Policy{MaxEntries: 20, MinBits4: 9, MinBits6: 33, MaxLabel: 100}
}

// A Code names a kind of fault or warning. Codes are stable: programs may
// compare them and store them.
type Code string

// The codes of faults, in the order in which the first that fits is
// reported. A label's fault is reported beside that of its entry.
const (
	CodeInvalidSyntax  Code = "invalid_syntax"
	CodeZoneNotAllowed Code = "zone_not_allowed"
	CodeHostBitsSet    Code = "host_bits_set"
	CodeNotPublic      Code = "not_public"
	CodeTooBroad       Code = "too_broad"
	CodeDuplicate      Code = "duplicate"
	CodeTooManyEntries Code = "too_many_entries"
	CodeLabelTooLong   Code = "label_too_long"
	CodeLabelInvalid   Code = "label_invalid"
)

// CodeRedundant is the code of a [Warning].
const CodeRedundant Code = "redundant"

// An EntryError is one fault of one entry. Its pointer is an error.
//
// Index and First are indexes of the slice that was validated, and so begin at 0.
// Texts for people (Error, Reason, Suggestion) count entries from 1.
type EntryError struct {
	// Index is the entry's place in the list, from 0. It is -1 for
	// CodeTooManyEntries, which is a fault of the list.
	Index int
	// Input is the entry as it was given, of any length and content. It is
	// empty where Index is -1.
	Input string
	// Code is the kind of fault.
	Code Code
	// Reason is a sentence for people: what is wrong and what to write.
	Reason string
	// Suggestion is what was probably meant: an entry, or two of which one was
	// ("203.0.113.0/24 or 203.0.113.5"), or words: the limit, or the entry that is
	// repeated. It is empty where nothing is evident, and where several entries
	// are needed.
	Suggestion string
	// Suggestions are entries to take as they stand; the policy accepts each of
	// them. Where Suggestion is not empty, one of them was meant. Where it is, they
	// are together what the input stands for (a range, a wildcard, several
	// addresses in one text), and at most as many as a list may have.
	Suggestions []string
	// First is the index of the entry that is repeated, with CodeDuplicate.
	First int
}

// Error returns the place counted from 1, the input quoted (cut after 64 bytes),
// the code, the reason and the suggestion in one line.
func (e *EntryError) Error() string {
	if e == nil {
		return "<nil>"
	}
	var b strings.Builder
	if e.Index >= 0 {
		fmt.Fprintf(&b, "entry %d %s: ", e.Index+1, quote(e.Input))
	}
	fmt.Fprintf(&b, "%s: %s", e.Code, e.Reason)
	switch n := len(e.Suggestions); {
	case e.Suggestion != "":
		fmt.Fprintf(&b, " (suggestion: %s)", e.Suggestion)
	case n > maxShown:
		fmt.Fprintf(&b, " (suggestions: %s and %d more)", strings.Join(e.Suggestions[:maxShown], ", "), n-maxShown)
	case n > 0:
		fmt.Fprintf(&b, " (suggestions: %s)", strings.Join(e.Suggestions, ", "))
	}
	return b.String()
}

// maxShown is how many suggestions stand in the text of an error.
const maxShown = 8

// quote quotes an input so that it can stand in a log or on a terminal.
func quote(s string) string {
	if len(s) <= 64 {
		return strconv.Quote(s)
	}
	return strconv.Quote(s[:64]) + "..."
}

// A ValidationError is all the faults of a list, in the order of its
// entries, a fault of the whole list last. It is never empty. errors.As finds
// both the ValidationError and the first [EntryError] in it.
type ValidationError struct {
	Entries []*EntryError
}

// Error returns the faults, a line each; after 20 of them it says how many
// more there are.
func (e *ValidationError) Error() string {
	if e == nil || len(e.Entries) == 0 {
		return "invalid allowlist"
	}
	var b strings.Builder
	for i, f := range e.Entries {
		if i == 20 {
			fmt.Fprintf(&b, "\nand %d more faults", len(e.Entries)-i)
			break
		}
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(f.Error())
	}
	return b.String()
}

// Unwrap returns the faults for errors.Is and errors.As.
func (e *ValidationError) Unwrap() []error {
	if e == nil {
		return nil
	}
	errs := make([]error, len(e.Entries))
	for i, f := range e.Entries {
		errs[i] = f
	}
	return errs
}

// ParseList parses and validates a list of texts without labels. See
// [Policy.ParseEntries].
func (p Policy) ParseList(texts []string) ([]Entry, error) {
	return p.parse(len(texts), func(i int) EntryText { return EntryText{Entry: texts[i]} })
}

// ParseEntries parses and validates a list. It returns canonical entries in
// the order given, or nil and a [*ValidationError] that holds the faults of
// all entries.
//
// Cost: O(n) for n entries.
func (p Policy) ParseEntries(list []EntryText) ([]Entry, error) {
	return p.parse(len(list), func(i int) EntryText { return list[i] })
}

func (p Policy) parse(n int, at func(int) EntryText) ([]Entry, error) {
	c := checker{policy: p}
	entries := make([]Entry, n)
	for i := range n {
		t := at(i)
		prefix, r := parsePrefix(t.Entry)
		if r != nil {
			c.fail(i, r.fault(t.Entry, &c.policy))
		} else {
			c.prefix(i, n, prefix, t.Entry)
		}
		c.label(i, t.Entry, t.Label)
		entries[i] = Entry{Prefix: prefix, Label: t.Label}
	}
	if err := c.result(n); err != nil {
		return nil, err
	}
	return entries, nil
}

// Validate reports whether an [Engine] with this policy accepts the entries:
// nil, or a [*ValidationError] with all their faults. Prefixes need not be
// canonical: an IPv4-mapped one counts as IPv4.
//
// Cost: O(n) for n entries; nothing is allocated for a valid list of up to
// 32.
func (p Policy) Validate(entries []Entry) error {
	_, err := p.canonical(entries, nil)
	return err
}

// canonical validates entries and appends their canonical forms to dst.
func (p Policy) canonical(entries []Entry, dst []Entry) ([]Entry, error) {
	c := checker{policy: p, entries: entries}
	for i := range entries {
		e := &entries[i]
		prefix, r := checkPrefix(e.Prefix)
		if r != nil {
			c.fail(i, r.fault(e.Prefix.String(), &c.policy))
		} else {
			c.prefix(i, len(entries), prefix, "")
		}
		c.label(i, "", e.Label)
		if dst != nil {
			dst = append(dst, Entry{Prefix: prefix, Label: e.Label})
		}
	}
	return dst, c.result(len(entries))
}

// checkPrefix is to a netip.Prefix what parsePrefix is to a text.
func checkPrefix(given netip.Prefix) (netip.Prefix, *refusal) {
	p := given
	if !p.IsValid() {
		return p, badSyntax("it is not a valid prefix; " + fourForms)
	}
	if p.Addr().Is4In6() {
		if p.Bits() < 96 {
			return p, badSyntax(shortMapped)
		}
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	if p.Masked() != p {
		return p, hostBitsSet(p, given.Bits())
	}
	return p, nil
}

// refuses returns why the policy refuses the canonical prefix, or "".
func (p *Policy) refuses(prefix netip.Prefix) Code {
	switch {
	case !p.AllowNonPublic && isNonPublic(prefix):
		return CodeNotPublic
	case prefix.Bits() < p.minBits(prefix.Addr()):
		return CodeTooBroad
	}
	return ""
}

// minBits is the limit for networks of the family of addr.
func (p *Policy) minBits(addr netip.Addr) int {
	if addr.Is4() {
		return p.MinBits4
	}
	return p.MinBits6
}

// A checker collects the faults of one list.
type checker struct {
	policy  Policy
	entries []Entry // for the inputs of faults, where the list was not text
	faults  []*EntryError

	// The canonical prefixes so far, for duplicates: a short list is
	// searched, a long one is a map.
	n     int
	short [shortList]netip.Prefix
	at    [shortList]int
	long  map[netip.Prefix]int
}

// shortList is the longest list whose duplicates are searched one by one.
const shortList = 32

func (c *checker) fail(i int, f *EntryError) {
	f.Index = i
	c.faults = append(c.faults, f)
}

func (c *checker) input(i int, text string) string {
	if text == "" && c.entries != nil {
		return c.entries[i].Prefix.String()
	}
	return text
}

// prefix applies the policy to the canonical prefix of entry i of n.
func (c *checker) prefix(i, n int, p netip.Prefix, text string) {
	switch c.policy.refuses(p) {
	case CodeNotPublic:
		c.fail(i, c.notPublic(p, c.input(i, text)))
		return
	case CodeTooBroad:
		c.fail(i, c.tooBroad(p, c.input(i, text)))
		return
	}
	if first, dup := c.seen(i, n, p); dup {
		f := &EntryError{
			Input: c.input(i, text), Code: CodeDuplicate, First: first,
			Reason:     fmt.Sprintf("it is the same network as entry %d, %s; remove one of them", first+1, p),
			Suggestion: "entry " + strconv.Itoa(first+1),
		}
		c.fail(i, f)
	}
}

func (c *checker) notPublic(p netip.Prefix, input string) *EntryError {
	r := &refusal{code: CodeNotPublic, reason: "it is " + nonPublicName(p) + ", which no client on the public Internet has; "}
	if v4, ok := carried(p); ok && c.policy.refuses(v4) == "" {
		r.reason += "write the IPv4 address or network that it carries"
		r.networks = []netip.Prefix{v4}
		return r.fault(input, &c.policy)
	}
	r.reason += "write the public address that requests leave your network from"
	f := r.fault(input, &c.policy)
	f.Suggestion = "use the public egress address of the NAT gateway or load balancer"
	return f
}

func (c *checker) tooBroad(p netip.Prefix, input string) *EntryError {
	limit := c.policy.minBits(p.Addr())
	f := &EntryError{Input: input, Code: CodeTooBroad}
	if most := networkSize(limit, p.Addr().BitLen()); most != "" {
		f.Suggestion = fmt.Sprintf("/%d or longer, %s", limit, most)
		f.Reason = fmt.Sprintf("the network is too large: /%d has %s, and the limit is /%d or longer, %s; "+
			"write smaller networks, or let the operator widen the policy",
			p.Bits(), networkSize(p.Bits(), p.Addr().BitLen()), limit, most)
	} else {
		f.Reason = "the policy allows no network of this kind; write one of the other kind, or let the operator widen the policy"
	}
	return f
}

// networkSize says how many addresses a network of a length has, in a family of max bits, or "" if
// there is none so long.
func networkSize(length, max int) string {
	n := max - length
	switch {
	case n < 0:
		return ""
	case n == 0:
		return "1 address"
	case n > 32:
		return "2^" + strconv.Itoa(n) + " addresses"
	}
	text := strconv.FormatUint(1<<n, 10)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text + " addresses"
}

// seen records p and returns the index of its first occurrence.
func (c *checker) seen(i, n int, p netip.Prefix) (first int, dup bool) {
	if n > shortList {
		if c.long == nil {
			c.long = make(map[netip.Prefix]int, n)
		}
		if first, dup = c.long[p]; !dup {
			c.long[p] = i
		}
		return first, dup
	}
	for j := range c.n {
		if c.short[j] == p {
			return c.at[j], true
		}
	}
	c.short[c.n], c.at[c.n] = p, i
	c.n++
	return 0, false
}

func (c *checker) label(i int, text, label string) {
	if label == "" {
		return
	}
	if !utf8.ValidString(label) || strings.ContainsFunc(label, unicode.IsControl) {
		c.fail(i, &EntryError{
			Input: c.input(i, text), Code: CodeLabelInvalid,
			Reason:     "the label " + quote(label) + " is not UTF-8 or holds control characters; write it without them",
			Suggestion: c.cleanLabel(label),
		})
		return
	}
	if n := utf8.RuneCountInString(label); n > c.policy.MaxLabel {
		c.fail(i, &EntryError{
			Input: c.input(i, text), Code: CodeLabelTooLong,
			Reason:     fmt.Sprintf("the label has %d characters and may have %d; shorten it", n, max(c.policy.MaxLabel, 0)),
			Suggestion: strconv.Itoa(max(c.policy.MaxLabel, 0)) + " characters",
		})
	}
}

// cleanLabel is the label without what made it invalid, or "" where nothing
// or too much would be left to suggest.
func (c *checker) cleanLabel(s string) string {
	if len(s) > 8*max(c.policy.MaxLabel, 0) {
		return ""
	}
	s = strings.TrimSpace(strings.Map(func(r rune) rune {
		if r == utf8.RuneError || unicode.IsControl(r) {
			return -1
		}
		return r
	}, s))
	if utf8.RuneCountInString(s) > c.policy.MaxLabel {
		return ""
	}
	return s
}

func (c *checker) result(n int) error {
	if limit := max(c.policy.MaxEntries, 0); n > limit {
		c.faults = append(c.faults, &EntryError{
			Index: -1, Code: CodeTooManyEntries,
			Reason:     fmt.Sprintf("the list has %d entries and may have %d; remove some, or join neighbours into larger networks", n, limit),
			Suggestion: "at most " + strconv.Itoa(limit) + " entries",
		})
	}
	if len(c.faults) == 0 {
		return nil
	}
	return &ValidationError{Entries: slices.Clip(c.faults)}
}
