package ipallow

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/ipallow/ipallow/internal/entrytext"
	"github.com/ipallow/ipallow/internal/index"
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
		prefix, r := entrytext.Parse(t.Entry)
		if r != nil {
			c.fail(i, c.policy.fault(r, t.Entry))
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
func (p Policy) canonical(entries []Entry, dst []index.Entry) ([]index.Entry, error) {
	c := checker{policy: p, entries: entries}
	for i := range entries {
		e := &entries[i]
		prefix, r := entrytext.Check(e.Prefix)
		if r != nil {
			c.fail(i, c.policy.fault(r, e.Prefix.String()))
		} else {
			c.prefix(i, len(entries), prefix, "")
		}
		c.label(i, "", e.Label)
		if dst != nil {
			dst = append(dst, index.Entry{Prefix: prefix, Label: e.Label})
		}
	}
	return dst, c.result(len(entries))
}

// refusalCodes are the codes of refusals by their kinds.
var refusalCodes = [...]Code{
	entrytext.Syntax: CodeInvalidSyntax, entrytext.Zone: CodeZoneNotAllowed, entrytext.HostBits: CodeHostBitsSet,
}

// fault is the refusal r of input under the policy, which may be nil for none: what the policy
// refuses is not suggested. Networks that belong together are suggested all or not at all.
func (p *Policy) fault(r *entrytext.Refusal, input string) *EntryError {
	e := &EntryError{Input: input, Code: refusalCodes[r.Kind], Reason: r.Reason}
	if p != nil && len(r.Networks) > p.MaxEntries && (!r.Either || p.MaxEntries < 1) {
		if p.MaxEntries > 0 {
			e.Reason += "; it stands for " + strconv.Itoa(len(r.Networks)) + " networks, and a list may have " +
				strconv.Itoa(p.MaxEntries) + " entries"
		}
		return e
	}
	var texts []string
	refused := ""
	for _, n := range r.Networks {
		if p != nil {
			if code := p.refuses(n); code != "" {
				refused = "; " + entrytext.Text(n) + " would be refused too (" + string(code) + ")"
				continue
			}
		}
		texts = append(texts, entrytext.Text(n))
	}
	switch {
	case refused != "" && (len(texts) == 0 || !r.Either):
		e.Reason += refused
		return e
	case r.Either:
		e.Suggestion = strings.Join(texts, " or ")
	case len(texts) == 1:
		e.Suggestion = texts[0]
	}
	e.Suggestions = texts
	return e
}

// refuses returns why the policy refuses the canonical prefix, or "".
func (p *Policy) refuses(prefix netip.Prefix) Code {
	switch {
	case !p.AllowNonPublic && entrytext.NonPublic(prefix):
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
	r := &entrytext.Refusal{Reason: "it is " + entrytext.NonPublicName(p) + ", which no client on the public Internet has; "}
	v4, carries := entrytext.Carried(p)
	if carries = carries && c.policy.refuses(v4) == ""; carries {
		r.Reason += "write the IPv4 address or network that it carries"
		r.Networks = []netip.Prefix{v4}
	} else {
		r.Reason += "write the public address that requests leave your network from"
	}
	f := c.policy.fault(r, input)
	f.Code = CodeNotPublic
	if !carries {
		f.Suggestion = "use the public egress address of the NAT gateway or load balancer"
	}
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
