package clientip_test

import (
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"net/netip"

	"github.com/ipallow/ipallow/clientip"
)

func Example() {
	src, err := clientip.New(&clientip.Options{
		Mode: clientip.XForwardedFor,
		TrustedProxies: []netip.Prefix{
			netip.MustParsePrefix("10.20.0.0/24"), // the load balancer
		},
	})
	if err != nil {
		log.Fatal(err) // every fault of the options, not only the first
	}

	r := httptest.NewRequest("GET", "/", nil)
	r.RemoteAddr = "10.20.0.7:41000"
	r.Header.Set("X-Forwarded-For", "6.6.6.6, 203.0.113.9") // the first one is a lie
	fmt.Println(src.FromRequest(r))

	r.RemoteAddr = "198.51.100.4:41000" // past the load balancer
	fmt.Println(src.FromRequest(r))

	r.RemoteAddr = "10.20.0.7:41000"
	r.Header.Del("X-Forwarded-For")
	fmt.Println(src.FromRequest(r))
	// Output:
	// 203.0.113.9
	// 198.51.100.4
	// none (header_missing)
}

func ExampleFromPeer() {
	fmt.Println(clientip.FromPeer("203.0.113.9:41000"))
	fmt.Println(clientip.FromPeer("[::ffff:203.0.113.9]:41000"))
	fmt.Println(clientip.FromPeer("[fe80::1%eth0]:41000"))
	fmt.Println(clientip.FromPeer("@"))
	// Output:
	// 203.0.113.9
	// 203.0.113.9
	// fe80::1
	// none (peer_without_address)
}

func ExampleNew_faults() {
	_, err := clientip.New(&clientip.Options{
		Mode:   clientip.SingleHeader,
		Header: "X_Real_IP",
		TrustedProxies: []netip.Prefix{
			netip.MustParsePrefix("10.20.0.7/24"),
		},
	})
	for _, fault := range err.(*clientip.OptionsError).Faults {
		fmt.Println(fault)
	}
	// Output:
	// clientip: TrustedProxies[0] "10.20.0.7/24": host bits are set; write 10.20.0.0/24 for the network or 10.20.0.7/32 for the address
	// clientip: Header "X_Real_IP": a name with an underscore looks like one with a hyphen to some servers; use hyphens here and in the proxy
}

// Two proxies whose addresses are not known, and a network that lets nothing
// else reach the server.
func ExampleOptions_trustedHops() {
	src, err := clientip.New(&clientip.Options{
		Mode:         clientip.XForwardedFor,
		TrustedHops:  2,
		TrustAnyPeer: true,
	})
	if err != nil {
		log.Fatal(err)
	}
	header := http.Header{}
	header.Add("X-Forwarded-For", "6.6.6.6, 203.0.113.9") // a lie; the client, by the first proxy
	header.Add("X-Forwarded-For", "198.51.100.20")        // the first proxy, by the second
	fmt.Println(src.From("198.51.100.30:41000", header))
	// Output:
	// 203.0.113.9
}

// gRPC metadata keeps header fields under lower-case names.
func ExampleSource_FromValues() {
	src, err := clientip.New(&clientip.Options{
		Mode:           clientip.Forwarded,
		TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.20.0.0/24")},
	})
	if err != nil {
		log.Fatal(err)
	}
	metadata := map[string][]string{"forwarded": {`for="[2001:db8::9]:4711";proto=https`}}
	fmt.Println(src.Header(), src.FromValues("10.20.0.7:41000", metadata["forwarded"]))
	// Output:
	// Forwarded 2001:db8::9
}
