package claims

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Whatever a name says, it does not pass with a character that CGI would fold.
func TestCharacters(t *testing.T) {
	long := strings.Repeat("a", 2*longest)
	for c := range 256 {
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-'
		for _, name := range []string{"Harmless" + string([]byte{byte(c)}), string([]byte{byte(c)}) + "Harmless", "Harm" + string([]byte{byte(c)}) + "less", long + string([]byte{byte(c)})} {
			require.Equal(t, !letter, Header(name), "%q", name)
		}
	}
}

// What the issue and SPEC.md name, by the products that set it.
func TestNames(t *testing.T) {
	for product, names := range map[string]string{
		"the gateway":         "X-Ipallow-Key-Id X-Ipallow-Client X-Ipallow- X-Ipallow-Anything Authorization X-Api-Key X-Request-Id",
		"CGI":                 "Proxy",
		"proxies":             "Forwarded Forwarded-For X-Forwarded X-Forwarded-For X-Forwarded-Host X-Forwarded-Proto X-Forwarded-Port X-Forwarded-Prefix X-Forwarded-Uri X-Forwarded-Anything X-Original-URL X-Original-Method X-Rewrite-URL X-Real-IP X-Client-IP X-Cluster-Client-IP Front-End-Https",
		"Apache":              "Remote-User X-Remote-User Remote-Addr",
		"WebLogic":            "Proxy-Client-IP WL-Proxy-Client-IP WL-Proxy-SSL WL-Proxy-Client-Cert",
		"Akamai":              "True-Client-IP",
		"Cloudflare":          "CF-Connecting-IP CF-Connecting-IPv6 Cf-Access-Jwt-Assertion Cf-Access-Authenticated-User-Email",
		"Fastly":              "Fastly-Client-IP",
		"oauth2-proxy":        "X-Auth-Request-User X-Auth-Request-Email X-Auth-Request-Groups X-Auth-Request-Preferred-Username X-Auth-Request-Access-Token X-Forwarded-User X-Forwarded-Groups X-Forwarded-Email X-Forwarded-Preferred-Username X-Forwarded-Access-Token",
		"Grafana":             "X-Webauth-User X-Webauth-Groups",
		"Authelia":            "Remote-Name Remote-Email Remote-Groups",
		"authentik":           "X-Authentik-Username X-Authentik-Groups X-Authentik-Jwt X-Authentik-Meta-App",
		"Traefik":             "X-Forwarded-Tls-Client-Cert X-Forwarded-Tls-Client-Cert-Info",
		"Pomerium":            "X-Pomerium-Jwt-Assertion X-Pomerium-Claim-Email",
		"Envoy":               "X-Envoy-External-Address X-Envoy-Original-Path X-Forwarded-Client-Cert",
		"AWS":                 "X-Amzn-Oidc-Data X-Amzn-Oidc-Identity X-Amzn-Oidc-Accesstoken X-Amzn-Mtls-Clientcert-Subject Cloudfront-Viewer-Address",
		"Google":              "X-Goog-Authenticated-User-Email X-Goog-Authenticated-User-Id X-Goog-Iap-Jwt-Assertion X-Appengine-User-Ip X-Apigateway-Api-Userinfo",
		"Azure":               "X-Ms-Client-Principal X-Ms-Client-Principal-Id X-Ms-Client-Principal-Name X-Ms-Token-Aad-Id-Token X-Arr-ClientCert",
		"Tailscale":           "Tailscale-User-Login Tailscale-User-Name",
		"Kubernetes":          "X-Remote-Group X-Remote-Extra-Scopes Impersonate-User",
		"Kong":                "X-Consumer-Username X-Consumer-Custom-Id X-Credential-Identifier X-Authenticated-Userid X-Authenticated-Scope",
		"grpc-gateway":        "Grpc-Metadata-X-Ipallow-Key-Id Grpc-Metadata-X-Forwarded-For Grpc-Metadata-Authorization Grpcgateway-Authorization",
		"Shibboleth":          "Shib-Session-Id Eppn",
		"client certificates": "Ssl-Client-Verify Ssl-Client-Subject-Dn X-SSL-Client-DN X-SSL-Client-Cert X-Client-Cert Client-Cert Client-Cert-Chain",
	} {
		for _, name := range strings.Fields(names) {
			require.True(t, Header(name), "%s: %s", product, name)
			require.True(t, Header(strings.ToLower(name)), "%s: %s", product, name)
			require.True(t, Header(strings.ToUpper(name)), "%s: %s", product, name)
		}
	}
}

// What clients send for purposes of their own passes.
func TestOrdinaryNames(t *testing.T) {
	for _, name := range strings.Fields(`Accept Accept-Encoding Accept-Language Cache-Control Content-Type Content-Length
		Content-Encoding Content-Disposition Content-Md5 Cookie Date Digest Dnt Expect From Host If-Match If-None-Match
		If-Modified-Since If-Range If-Unmodified-Since Idempotency-Key Link Origin Pragma Prefer Priority Range Referer
		Sec-Fetch-Site Sec-Ch-Ua Sec-Websocket-Key Sec-Websocket-Protocol Signature Signature-Input Te Traceparent Tracestate
		Baggage B3 X-B3-Traceid X-Amzn-Trace-Id X-Cloud-Trace-Context X-Correlation-Id Upgrade User-Agent Via Max-Forwards
		X-Amz-Date X-Amz-Content-Sha256 X-Auth-Token X-Csrf-Token X-Requested-With X-Idempotency-Key X-Client-Version
		X-Client-Id X-Device-Id X-Api-Version X-Ms-Client-Request-Id X-Ms-Version X-Goog-Api-Client X-Http-Method-Override
		X-User-Agent X-Grpc-Web Grpc-Timeout Stripe-Version Openai-Organization Anthropic-Version Hx-Request Soapaction
		X-Ipallowed Proxied Remotely Ipallow Xforwardedness Http-Referer Hosts Proxyx Cf-Ray Cf-Ipcountry`) {
		require.False(t, Header(name), name)
	}
	require.False(t, Header(strings.Repeat("a", 10_000)))
	require.True(t, Header("x-ipallow-"+strings.Repeat("a", 10_000)))
	require.True(t, Header(""+"x-ipallow-"))
	require.False(t, Header("x-ipallow"))
}

// The table says nothing twice, and only what can be compared.
func TestTable(t *testing.T) {
	require.LessOrEqual(t, longest, 64, "the buffer of Header")
	names := Table()
	require.Greater(t, len(names), 150)
	for _, name := range names {
		require.Regexp(t, `^[a-z0-9]+(-[a-z0-9]+)*-?$`, name)
		for _, family := range names {
			if family != name && strings.HasSuffix(family, "-") {
				require.False(t, strings.HasPrefix(name, family), "%s is in the family %s", name, family)
			}
		}
		require.True(t, Header(name), name)
		if strings.HasSuffix(name, "-") {
			require.True(t, Header(name+"anything"), name)
			continue
		}
		require.Equal(t, table[name+"-"], Header(name+"-x"), name)
	}
}

func TestSame(t *testing.T) {
	for _, sep := range "-_.~+!#$%&'*^|`" {
		s := string(sep)
		require.True(t, Same("X"+s+"Http"+s+"METHOD", "x-http-method"), s)
	}
	for _, other := range []string{"", "X-HTTP-Method-", "X-HTTP-Metho", "XAHTTP-Method", "X-HTTP-Meth0d", "XHTTP-Method"} {
		require.False(t, Same(other, "x-http-method"), other)
	}
}

func TestCookies(t *testing.T) {
	for value, want := range map[string]string{
		"":                              "",
		"a=b":                           "a=b",
		"a=b; c=d":                      "a=b; c=d",
		"ipallow_session=x":             "",
		"__Host-ipallow_session=x":      "",
		"ipallow_session":               "",
		"ipallow_session=":              "",
		"a=b; ipallow_session=x":        "a=b",
		"ipallow_session=x; a=b":        "a=b",
		"a=b; ipallow_session=x; c=d":   "a=b; c=d",
		"a=b;ipallow_session=x;c=d":     "a=b;c=d",
		"a=b;\tipallow_session =x; c=d": "a=b; c=d",
		"ipallow_session=x; __Host-ipallow_session=y; ipallow_session=z": "",
		"a=ipallow_session; b=\"1 2\";; c":                               "a=ipallow_session; b=\"1 2\";; c",
		"ipallow_sessions=1; xipallow_session=2; IPALLOW_SESSION=3":      "ipallow_sessions=1; xipallow_session=2; IPALLOW_SESSION=3",
		"__Host-other=1; ipallow_session=x":                              "__Host-other=1",
	} {
		require.Equal(t, want, Cookies(value), "%q", value)
	}
}

func TestNoAllocs(t *testing.T) {
	require.Zero(t, testing.AllocsPerRun(100, func() {
		for _, name := range ordinary {
			Header(name)
		}
		Cookies("a=b; c=d")
	}))
}

var ordinary = []string{"Accept", "Content-Type", "X-Amz-Content-Sha256", "X-Forwarded-For", "X.Real.IP"}

func BenchmarkHeader(b *testing.B) {
	for b.Loop() {
		for _, name := range ordinary {
			Header(name)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(ordinary)), "ns/name")
}
