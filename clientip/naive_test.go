package clientip

import (
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// The slow and obvious reference. It shares no helper with the package: it
// works with regular expressions, by replacing text, and with loops over
// netip.Prefix.Contains.

// naiveConfig is Options with a name for every mode, to keep the reference
// free of the package's types.
type naiveConfig struct {
	mode     string // "peer", "x_forwarded_for", "forwarded", "single_header"
	trusted  []netip.Prefix
	hops     int
	anyPeer  bool
	unixPeer bool
}

const (
	naiveIPv6Text = `([0-9A-Fa-f:.]+)(?:%[^\[\]\p{Cc}]+)?`
	naivePort     = `(?::([0-9]{1,5}))?`
)

var (
	naiveIPv4      = regexp.MustCompile(`^([0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3})` + naivePort + `$`)
	naiveBare      = regexp.MustCompile(`^` + naiveIPv6Text + `$`)
	naiveBracketed = regexp.MustCompile(`^\[` + naiveIPv6Text + `\]` + naivePort + `$`)

	naiveNode4   = regexp.MustCompile(`^([0-9.]+)(?::(?:([0-9]{1,5})|_[A-Za-z0-9._-]+))?$`)
	naiveNode6   = regexp.MustCompile(`^\[` + naiveIPv6Text + `\](?::(?:([0-9]{1,5})|_[A-Za-z0-9._-]+))?$`)
	naiveNodeHid = regexp.MustCompile(`^(?:[uU][nN][kK][nN][oO][wW][nN]|_[A-Za-z0-9._-]+)(?::(?:([0-9]{1,5})|_[A-Za-z0-9._-]+))?$`)

	naiveToken  = "[-!#$%&'*+.^_`|~0-9A-Za-z]+"
	naiveQuoted = `"(?:[^"\\\x00-\x08\x0a-\x1f\x7f]|\\[^\x00-\x08\x0a-\x1f\x7f])*"`
	naivePair   = regexp.MustCompile(`(` + naiveToken + `)=(` + naiveToken + `|` + naiveQuoted + `)`)
	naiveElem   = regexp.MustCompile(`^(?:` + naiveOptPair + `)(?:[ \t]*;[ \t]*` + naiveOptPair + `)*$`)

	naiveOptPair = `(?:` + naivePair.String() + `)?`
)

// naiveIP turns the matches of one of the address expressions into an address.
func naiveIP(m []string, wantColon bool) (netip.Addr, bool) {
	if m == nil || strings.Contains(m[1], ":") != wantColon || !utf8.ValidString(m[0]) {
		return netip.Addr{}, false
	}
	if len(m) > 2 && m[2] != "" {
		if n, err := strconv.Atoi(m[2]); err != nil || n > 65535 {
			return netip.Addr{}, false
		}
	}
	a, err := netip.ParseAddr(m[1])
	return a.Unmap(), err == nil
}

func naivePlain(s string) (netip.Addr, bool) {
	if a, ok := naiveIP(naiveIPv4.FindStringSubmatch(s), false); ok {
		return a, true
	}
	if a, ok := naiveIP(naiveBare.FindStringSubmatch(s), true); ok {
		return a, true
	}
	return naiveIP(naiveBracketed.FindStringSubmatch(s), true)
}

func naivePeer(s string) Result {
	if s == "" || strings.HasPrefix(s, "@") || strings.HasPrefix(s, "/") {
		return Result{Reason: PeerWithoutAddress}
	}
	if a, ok := naivePlain(s); ok {
		return Result{a, Found}
	}
	return Result{Reason: PeerUnreadable}
}

// naiveElements splits one field line, leftmost element first.
func naiveElements(mode, line string) []string {
	switch mode {
	case "single_header":
		return []string{line}
	case "x_forwarded_for":
		return strings.Split(line, ",")
	}
	// Blank out one quoted string after the other, the rightmost first, until
	// the last comma stands right of all quotation marks; cut there.
	blanked := line
	for {
		comma, end := strings.LastIndex(blanked, ","), strings.LastIndex(blanked, `"`)
		if end < 0 && comma < 0 {
			return []string{line}
		}
		if comma > end {
			return append(naiveElements(mode, line[:comma]), line[comma+1:])
		}
		start := -1
		for i := range end {
			before := blanked[:i]
			backslashes := len(before) - len(strings.TrimRight(before, `\`))
			if blanked[i] == '"' && backslashes%2 == 0 {
				start = i // the last one counts
			}
		}
		if start < 0 {
			return []string{line}
		}
		blanked = blanked[:start] + strings.Repeat("x", end+1-start) + blanked[end+1:]
	}
}

func naiveRead(mode, elem string) (netip.Addr, Reason) {
	elem = strings.Trim(elem, " \t")
	if mode != "forwarded" {
		if a, ok := naivePlain(elem); ok && !strings.Contains(elem, ",") {
			return a, Found
		}
		if regexp.MustCompile(`^[uU][nN][kK][nN][oO][wW][nN]$`).MatchString(elem) {
			return netip.Addr{}, ElementHidden
		}
		return netip.Addr{}, ElementUnreadable
	}
	if !naiveElem.MatchString(elem) {
		return netip.Addr{}, ElementUnreadable
	}
	var values []string
	for _, m := range naivePair.FindAllStringSubmatch(elem, -1) {
		if strings.ToLower(m[1]) == "for" {
			values = append(values, m[2])
		}
	}
	if len(values) != 1 {
		return netip.Addr{}, ElementUnreadable
	}
	node := values[0]
	if strings.HasPrefix(node, `"`) {
		node = regexp.MustCompile(`\\(.)`).ReplaceAllString(node[1:len(node)-1], "$1")
	}
	if a, ok := naiveIP(naiveNode4.FindStringSubmatch(node), false); ok {
		return a, Found
	}
	if a, ok := naiveIP(naiveNode6.FindStringSubmatch(node), true); ok {
		return a, Found
	}
	if m := naiveNodeHid.FindStringSubmatch(node); m != nil {
		if n, err := strconv.Atoi("0" + m[1]); err == nil && n <= 65535 {
			return netip.Addr{}, ElementHidden
		}
	}
	return netip.Addr{}, ElementUnreadable
}

func naiveTrusts(trusted []netip.Prefix, a netip.Addr) bool {
	for _, p := range trusted {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// naive answers what a Source with the configuration must answer. The
// prefixes are not IPv4-mapped.
func naive(c naiveConfig, peer string, lines []string) Result {
	res := naivePeer(peer)
	trusted := res.Reason == PeerWithoutAddress && c.unixPeer ||
		res.Reason == Found && (c.anyPeer || naiveTrusts(c.trusted, res.Addr))
	if c.mode == "peer" || !trusted {
		return res
	}
	var chain []string
	bytes := 0
	for _, line := range lines {
		bytes += len(line)
		chain = append(chain, naiveElements(c.mode, line)...)
	}
	switch {
	case len(lines) == 0:
		return Result{Reason: HeaderMissing}
	case c.mode == "single_header" && len(lines) > 1:
		return Result{Reason: HeaderRepeated}
	case len(lines) > 32:
		return Result{Reason: TooManyElements}
	case bytes > 8192:
		return Result{Reason: HeaderTooLarge}
	case len(chain) > 32:
		return Result{Reason: TooManyElements}
	}
	for n := 1; n <= len(chain); n++ {
		a, reason := naiveRead(c.mode, chain[len(chain)-n])
		if reason != Found {
			return Result{Reason: reason}
		}
		if n == c.hops || c.hops == 0 && !naiveTrusts(c.trusted, a) {
			return Result{a, Found}
		}
	}
	if c.hops > 0 {
		return Result{Reason: TooFewElements}
	}
	return Result{Reason: AllTrusted}
}
