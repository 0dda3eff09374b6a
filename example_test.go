package ipallow_test

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/ipallow/ipallow"
)

func Example() {
	engine := ipallow.New(nil)
	entries, err := ipallow.DefaultPolicy().ParseList([]string{"203.0.113.0/24", "2001:db8:1::/48"})
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := engine.Set("key-1", entries); err != nil {
		fmt.Println(err)
		return
	}
	if engine.Check("key-1", netip.MustParseAddr("198.51.100.7")).OK() {
		fmt.Println("serve the request")
	} else {
		fmt.Println("answer 403")
	}
	// Output: answer 403
}

func ExampleEngine_Check() {
	engine := ipallow.New(nil)
	err := engine.Set("key-1", []ipallow.Entry{{Prefix: netip.MustParsePrefix("203.0.113.0/24")}})
	fmt.Println(err)

	inside := netip.MustParseAddr("203.0.113.5")
	fmt.Println(engine.Check("key-1", inside))
	fmt.Println(engine.Check("key-1", netip.MustParseAddr("::ffff:203.0.113.5"))) // IPv4-mapped
	fmt.Println(engine.Check("key-1", netip.MustParseAddr("203.0.114.5")))
	fmt.Println(engine.Check("key-1", netip.Addr{})) // the client's address is not known
	fmt.Println(engine.Check("key-2", netip.Addr{})) // a key without an allowlist
	fmt.Println(engine.Check("key-1", inside).OK())
	// Output:
	// <nil>
	// allowed
	// allowed
	// denied
	// denied
	// unrestricted
	// true
}

func ExamplePolicy_ParseList() {
	_, err := ipallow.DefaultPolicy().ParseList([]string{
		"203.0.113.0/24",
		"203.0.113.5/24",
		"198.51.100.0/255.255.255.0",
		"10.1.2.3",
	})
	var invalid *ipallow.ValidationError
	if errors.As(err, &invalid) {
		for _, f := range invalid.Entries {
			fmt.Printf("%d %q %s: %s\n", f.Index, f.Input, f.Code, f.Suggestion)
		}
	}
	// Output:
	// 1 "203.0.113.5/24" host_bits_set: 203.0.113.0/24 or 203.0.113.5
	// 2 "198.51.100.0/255.255.255.0" invalid_syntax: 198.51.100.0/24
	// 3 "10.1.2.3" not_public: use the public egress address of the NAT gateway or load balancer
}

func ExampleEngine_Update() {
	engine := ipallow.New(nil)
	office := []ipallow.Entry{{Prefix: netip.MustParsePrefix("203.0.113.0/24"), Label: "office"}}
	err := engine.Update(func(tx *ipallow.Tx) error {
		tx.Delete("key-1")
		return tx.Set("key-2", office)
	})
	fmt.Println(err, engine.Snapshot().Len())

	// One fault, and nothing changes.
	err = engine.Update(func(tx *ipallow.Tx) error {
		tx.Delete("key-2")
		return tx.Set("key-3", []ipallow.Entry{{Prefix: netip.MustParsePrefix("0.0.0.0/0")}})
	})
	var fault *ipallow.KeyError
	fmt.Println(errors.As(err, &fault), fault.Key, engine.Snapshot().Len())
	// Output:
	// <nil> 1
	// true key-3 1
}

func ExampleEngine_Explain() {
	engine := ipallow.New(nil)
	err := engine.Set("key-1", []ipallow.Entry{
		{Prefix: netip.MustParsePrefix("203.0.113.0/24"), Label: "office"},
		{Prefix: netip.MustParsePrefix("203.0.113.128/25"), Label: "office, second floor"},
	})
	fmt.Println(err)
	fmt.Println(engine.Explain("key-1", netip.MustParseAddr("203.0.113.200")))
	fmt.Println(engine.Explain("key-1", netip.MustParseAddr("198.51.100.7")))
	fmt.Println(engine.Explain("key-2", netip.MustParseAddr("198.51.100.7")))
	// Output:
	// <nil>
	// allowed: 203.0.113.200 matches entry 2, 203.0.113.128/25 ("office, second floor")
	// denied: 198.51.100.7 matches none of the 2 entries
	// unrestricted: the key has no allowlist
}

func ExampleEngine_Replace() {
	engine := ipallow.New(&ipallow.Options{DenyUntilLoaded: true})
	from := netip.MustParseAddr("198.51.100.7")
	fmt.Println(engine.Check("key-2", from))

	err := engine.Replace(func(yield func(string, []ipallow.Entry) bool) {
		yield("key-1", []ipallow.Entry{{Prefix: netip.MustParsePrefix("203.0.113.0/24")}})
	})
	fmt.Println(err, engine.Check("key-1", from), engine.Check("key-2", from))
	// Output:
	// denied
	// <nil> denied unrestricted
}

func ExampleEngine_ReplaceFunc() {
	engine := ipallow.New(&ipallow.Options{DenyUntilLoaded: true})
	err := engine.ReplaceFunc(func(add func(string, []ipallow.Entry)) error {
		add("key-1", []ipallow.Entry{{Prefix: netip.MustParsePrefix("203.0.113.0/24")}})
		return errors.New("the database went away") // rows are missing: change nothing
	})
	fmt.Println(err)
	fmt.Println(engine.Snapshot().Loaded(), engine.Snapshot().Len())
	// Output:
	// the database went away
	// false 0
}

func ExampleWarnings() {
	entries, err := ipallow.DefaultPolicy().ParseList([]string{"203.0.113.5", "203.0.113.0/24"})
	fmt.Println(err)
	for _, w := range ipallow.Warnings(entries) {
		fmt.Println(w)
	}
	// Output:
	// <nil>
	// entry 1 "203.0.113.5/32": redundant: entry 2, 203.0.113.0/24, already covers it; it can be removed
}
