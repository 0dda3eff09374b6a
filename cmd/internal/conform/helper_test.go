package conform

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ipallow/ipallow/conformance"
)

// helperEnv makes the test binary one of the programs below.
const helperEnv = "IPALLOW_CONFORM_HELPER"

func TestMain(m *testing.M) {
	if name := os.Getenv(helperEnv); name != "" {
		os.Exit(helper(name, os.Stdin, os.Stdout))
	}
	os.Exit(m.Run())
}

// helper is a program that conforms, or one with a certain fault.
func helper(name string, in io.Reader, out io.Writer) int {
	engine := conformance.Engine()
	switch name {
	case "right":
		return serve(in, out, engine)

	// Programs that are wrong about the rules.
	case "naive cidr":
		return serve(in, out, naiveCIDR{})
	case "zone trap":
		return serve(in, out, zoneTrap{})
	case "not unmapped":
		return serve(in, out, notUnmapped{})
	case "opens on bad data":
		return serve(in, out, opensOnBadData{})
	case "says error":
		return serve(in, out, saysError{})

	// Programs that are wrong about the protocol.
	case "reversed":
		answers := collect(in)
		for i := range answers {
			fmt.Fprintln(out, answers[len(answers)-1-i])
		}
	case "no last line feed":
		fmt.Fprint(out, strings.Join(collect(in), "\n"))
	case "too few":
		answers := collect(in)
		fmt.Fprintln(out, strings.Join(answers[:len(answers)-3], "\n"))
	case "twice":
		for _, a := range collect(in)[:5] {
			fmt.Fprintln(out, a+"\n"+a)
		}
	case "too many":
		fmt.Fprintln(out, strings.Join(collect(in), "\n"))
		fmt.Fprintln(out, `{"id":"nobody asked","code":"duplicate"}`)
	case "exit status":
		fmt.Fprintln(out, strings.Join(collect(in), "\n"))
		return 5
	case "crash":
		fmt.Fprintln(out, strings.Join(collect(in)[:10], "\n"))
		fmt.Fprintln(os.Stderr, "out of cheese\x1b[31m")
		return 3
	case "crash at once":
		fmt.Fprintln(os.Stderr, "no configuration")
		return 7
	case "reads nothing and ends":
		return 0
	case "hang":
		fmt.Fprintln(out, strings.Join(collect(in)[:5], "\n"))
		time.Sleep(time.Hour)
	case "deaf":
		time.Sleep(time.Hour)
	case "lingers":
		fmt.Fprintln(out, strings.Join(collect(in), "\n"))
		time.Sleep(time.Hour)
	case "closes its output and lingers":
		fmt.Fprintln(out, strings.Join(collect(in), "\n"))
		os.Stdout.Close()
		time.Sleep(time.Hour)
	case "garbage":
		for range collect(in)[:20] {
			fmt.Fprintln(out, "Segmentation fault\x1b[2J\x00\xff")
		}
	case "babble":
		w := bufio.NewWriter(out)
		for {
			if _, err := w.WriteString("{}\n"); err != nil {
				return 1
			}
		}
	case "endless line":
		for {
			if _, err := out.Write(make([]byte, 1<<16)); err != nil {
				return 1
			}
		}
	case "long line":
		answers := collect(in)
		fmt.Fprintln(out, strings.Repeat("x", 2*MaxLine))
		fmt.Fprintln(out, strings.Join(answers, "\n"))
	case "misspelt member":
		for _, a := range collect(in) {
			fmt.Fprintln(out, strings.Replace(a, `"canonical"`, `"cannonical"`, 1))
		}
	case "long answers":
		for _, a := range collect(in) {
			fmt.Fprintln(out, strings.Replace(a, `"canonical":"`, `"canonical":"`+strings.Repeat("y", 1<<15), 1))
		}
	default:
		fmt.Fprintln(os.Stderr, "no helper", name)
		return 2
	}
	return 0
}

func serve(in io.Reader, out io.Writer, impl conformance.Implementation) int {
	if err := Serve(in, out, impl); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// collect reads all questions and returns the right answers to them.
func collect(in io.Reader) []string {
	var b strings.Builder
	if err := Serve(in, &b, conformance.Engine()); err != nil {
		panic(err)
	}
	return strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
}

// right answers what the wrong programs below are not about.
type right struct{}

func (right) Answer(q conformance.Question) conformance.Answer {
	return conformance.Engine().Answer(q)
}

// naiveCIDR reads entries with net.ParseCIDR, which masks host bits away
// without a word.
type naiveCIDR struct{ right }

func (n naiveCIDR) Answer(q conformance.Question) conformance.Answer {
	if q.Kind == conformance.KindEntry {
		if _, network, err := net.ParseCIDR(*q.Entry); err == nil {
			masked := network.String()
			q.Entry = &masked
		}
	}
	return n.right.Answer(q)
}

// zoneTrap tries netip.ParseAddr before it looks for a slash, and then drops
// the zone: "fe80::1%eth0/64" is an address to it.
type zoneTrap struct{ right }

func (z zoneTrap) Answer(q conformance.Question) conformance.Answer {
	if q.Kind == conformance.KindEntry {
		if addr, err := netip.ParseAddr(*q.Entry); err == nil && addr.Zone() != "" {
			bare := addr.WithZone("").String()
			q.Entry = &bare
		}
	}
	return z.right.Answer(q)
}

// notUnmapped matches with netip.Prefix.Contains alone, which takes an
// IPv4-mapped address for IPv6.
type notUnmapped struct{ right }

func (n notUnmapped) Answer(q conformance.Question) conformance.Answer {
	a := n.right.Answer(q)
	if q.Kind != conformance.KindVerdict || a.Match == nil {
		return a
	}
	bare, _, _ := strings.Cut(*q.Address, "%")
	if !netip.MustParsePrefix(a.Match.Entry).Contains(netip.MustParseAddr(bare)) {
		return conformance.Answer{ID: q.ID, Verdict: "denied"}
	}
	return a
}

// opensOnBadData takes a list that it refuses for an empty one.
type opensOnBadData struct{ right }

func (o opensOnBadData) Answer(q conformance.Question) conformance.Answer {
	steps := make([]conformance.Step, len(q.Steps))
	for i, s := range q.Steps {
		if s.Op == conformance.OpSet {
			list := conformance.Question{ID: q.ID, Kind: conformance.KindList, Policy: q.Policy, Entries: s.Entries}
			if o.right.Answer(list).Faults != nil {
				s.Entries = []conformance.EntryText{}
			}
		}
		steps[i] = s
	}
	q.Steps = steps
	return o.right.Answer(q)
}

// saysError cannot do sequences, and says so.
type saysError struct{ right }

func (s saysError) Answer(q conformance.Question) conformance.Answer {
	if q.Kind == conformance.KindSequence {
		return conformance.Answer{ID: q.ID, Error: "no engine here\x1b[31m"}
	}
	return s.right.Answer(q)
}

var loadOnce = sync.OnceValues(conformance.Load)

// load returns all cases. They are shared, and not to be changed.
func load(t testing.TB) []conformance.Case {
	t.Helper()
	v, err := loadOnce()
	if err != nil {
		t.Fatal(err)
	}
	return v.Cases
}

func mustJSON(t testing.TB, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
