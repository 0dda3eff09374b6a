package clientip

import (
	"math"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// wellFormedElement matches one element at the beginning of a text, with the
// comma after it, read from the left as RFC 7239, section 4 is written.
var wellFormedElement = regexp.MustCompile(`^((?:` + naiveOptPair + `)(?:[ \t]*;[ \t]*` + naiveOptPair + `)*)[ \t]*(,[ \t]*|$)`)

// fromLeft splits a well-formed line from the left.
func fromLeft(line string) (elements []string, ok bool) {
	for {
		m := wellFormedElement.FindStringSubmatch(line)
		if m == nil {
			return nil, false
		}
		elements = append(elements, strings.Trim(m[1], " \t"))
		if sep := m[len(m)-1]; sep == "" {
			return elements, true
		}
		line = line[len(m[0]):]
	}
}

// TestForwardedFromTheRight shows that for well-formed lists it does not
// matter from which end the elements are separated, and that for the others
// it does: what is appended to any text is found again.
func TestForwardedFromTheRight(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	pieces := []string{"for=1.2.3.4", "host=", `"`, `"`, `\`, `\"`, `\\`, ",", ", ", ";", "a", `x="a,b"`, `by="[::1]"`, " "}
	wellFormed, malformed := 0, 0
	for range 200_000 {
		var b strings.Builder
		for range 1 + rnd.IntN(10) {
			b.WriteString(pieces[rnd.IntN(len(pieces))])
		}
		line := b.String()

		elem, rest, more := lastForwarded(line + `,for="[2001:db8::9]";host="\"\\,"`)
		if elem != `for="[2001:db8::9]";host="\"\\,"` || rest != line || !more {
			t.Fatalf("appended to %q: got %q, %q, %v", line, elem, rest, more)
		}

		want, ok := fromLeft(strings.Trim(line, " \t"))
		if !ok {
			malformed++
			continue
		}
		wellFormed++
		var got []string
		for rest, more := line, true; more; {
			elem, rest, more = lastForwarded(rest)
			got = append(got, strings.Trim(elem, " \t"))
		}
		slices.Reverse(got)
		if !slices.Equal(got, want) {
			t.Fatalf("%q: from the right %q, from the left %q", line, got, want)
		}
	}
	if wellFormed < 1000 || malformed < 1000 {
		t.Errorf("%d well-formed, %d malformed", wellFormed, malformed)
	}
}

// TestForwardedCostIsLinear feeds the texts on which a scanner that goes back
// over its tracks would take a time that grows with the square of the length:
// eight times the bytes, 64 times the time. The limit is 24 times.
func TestForwardedCostIsLinear(t *testing.T) {
	src := mustNew(t, Options{Mode: Forwarded, TrustedProxies: testProxies})
	for _, piece := range []string{`"`, `\`, `\"`, `",`, `,"`, ",", `"\\"`, ";", "for=10.0.0.1,", `x="`, " ", "\t;", `"\,"`} {
		cost := func(size int) time.Duration {
			line := strings.Repeat(piece, size/len(piece))
			// The best of many short measurements is one that nothing else on
			// the machine interrupted.
			best := time.Duration(math.MaxInt64)
			for range 100 {
				start := time.Now()
				countForwarded([]string{line})
				got := src.FromValues("10.0.0.1:1", []string{line})
				best = min(best, time.Since(start))
				if got.OK() {
					t.Fatalf("%q repeated: got %v", piece, got)
				}
			}
			return best
		}
		if small, large := cost(MaxHeaderBytes/8), cost(MaxHeaderBytes); large > 24*small+20*time.Microsecond {
			t.Errorf("%q repeated: %v for %d bytes, %v for %d", piece, small, MaxHeaderBytes/8, large, MaxHeaderBytes)
		}
	}
}
