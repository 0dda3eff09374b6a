package claims

import "strings"

// table has the names in lower case. One that ends with a hyphen stands for every
// name that begins so.
//
// The names were collected from the documentation of the products in the comments,
// and from the lists of headers in which libraries look for a client's address
// (request-ip, Rack, WordPress plugins, Spring, Flask).
var table = words(
	// The key, and the gateway's own words.
	`authorization x-api-key x-ipallow- x-request-id`,

	// CGI makes HTTP_PROXY of the first one, which HTTP clients take for a setting
	// (httpoxy, CVE-2016-5385). WebLogic and mod_wl: Proxy-Client-IP, WL-Proxy-*.
	`proxy proxy- wl-proxy- x-wl-proxy- x-proxy- x-proxyuser-ip x-proxiedentitieschain
	x-proxiedentitygroups`,

	// Host, scheme and path of the original request (RFC 7239 and its forerunners).
	`forwarded forwarded- x-forwarded x-forwarded- x-original- x-rewrite- x-override-url
	x-host x-http-host-override x-http-destinationurl x-script-name x-url-scheme x-scheme
	x-proto x-protocol x-https https front-end-https z-forwarded-for x-imforwards
	x-accel- x-sendfile-type x-forward-proto x-forward-host x-proxied-https x-ingress-path
	x-waws-unencoded-url disguised-host`,

	// The client's address.
	`client-ip client-ips x-client-ip x-clientip x-client-ips x-client-addr x-client-address
	x-client-real-ip x-client-host x-client-port http-client-ip http-x-forwarded-for
	true-client- x-true-client-ip x-true-ip x-real- real-ip x-remote- remote- pc-remote-addr
	x-originating- x-cluster- cluster-client-ip x-peer-ip x-source-ip
	coming-from x-coming-from x-forwardedfor cdn-src-ip cdn-real-ip cdn-client-ip x-cdn-src-ip x-cdn-real-ip ali-cdn-real-ip
	ddg-connecting-ip x-gt-clientip fastly- fly-client- fly-forwarded- x-vercel- x-nf-
	akamai- x-akamai- incap-client-ip x-incap-client-ip x-sucuri- cloudfront-
	x-envoy- l5d- dapr-caller- x-forward-for x-forwarder-for do-connecting-ip eo-connecting-ip
	x-ms-forwarded-client-ip x-realip`,

	// Users, as oauth2-proxy, nginx's auth_request, Grafana, Authelia, authentik, Vouch,
	// Keycloak's gatekeeper, Oathkeeper, Kubernetes, Kubeflow, LemonLDAP::NG, CAS, ShinyProxy,
	// Sandstorm, YunoHost and Elasticsearch name them.
	`x-auth-request- x-auth-user x-auth-userid x-auth-user-id x-auth-username x-auth-email
	x-auth-subject x-auth-groups x-auth-roles x-auth-audience x-auth-expiresin x-auth-name
	x-auth-given-name x-auth-family-name x-auth-couchdb- auth-user auth-remote-user gap-auth
	gap-signature x-webauth- webauth- x-authelia- x-authentik- x-vouch- x-authenticated-
	authenticated- x-user x-user-id x-userid x-user-name x-username x-user-email x-user-groups
	x-user-group x-user-roles x-user-role x-user-info x-userinfo x-user-claims x-user-dn
	x-user-login x-groups x-roles x-role x-remoteuser remoteuser x-logged-in-user
	x-current-user x-principal x-identity-status x-sso- impersonate- x-spiffe- x-token-user-
	x-token-subject kubeflow- auth-mail auth-groups auth-cn lm-remote-user cas-user x-sp-userid
	x-sp-usergroups x-sandstorm- ynh-user ynh-user- es-security-runas-user`,

	// Users and callers, as other gateways name them: Pomerium, Cloudflare, Google's IAP,
	// App Engine and API gateways, AWS, Azure, Tailscale, Teleport, Kong, APISIX, WSO2,
	// MuleSoft, Gravitee, Tyk, SiteMinder, WebSEAL, Oracle, Shibboleth, mod_auth_openidc,
	// ngrok, Snowflake, Istio.
	`x-pomerium- cf-access- cf-connecting- cf-pseudo- cf-client- cf-visitor x-goog-authenticated-
	x-goog-iap- x-appengine- appengine- x-apigateway- x-endpoint-api-userinfo x-amzn-oidc-
	x-amzn-mtls- x-amzn-lattice- x-amzn-source- x-amzn-request-context x-amzn-lambda-context
	x-ms-client-principal x-ms-client-principal- x-ms-token- x-ms-proxy x-arr- x-azure-clientip
	x-azure-socketip tailscale- teleport- x-teleport- x-consumer- x-credential-
	x-anonymous-consumer x-jwt-assertion x-jwt-claim- x-anypnt- x-agw- x-gravitee- x-tyk- x-rh-
	sm- smuser iv- oam- osso- shib- eppn
	persistent-id oidc- x-oidc- mellon- affiliation unscoped-affiliation entitlement targeted-id
	subject-id pairwise-id ngrok-auth- ngrok-oauth- sf-context- sec-istio-auth-userinfo`,

	// Metadata of gRPC: grpc-gateway before 2.33 takes the first prefix off, whatever name is
	// behind it, and writes the second one itself.
	`grpc-metadata- grpcgateway-`,

	// Client certificates (RFC 9440, nginx, HAProxy, Cloudflare, ingress controllers).
	`client-cert client-cert- x-client-cert x-client-cert- x-client-certificate x-client-dn
	x-client-cn x-client-verify x-client-subject x-client-issuer x-client-serial
	x-client-fingerprint ssl- x-ssl x-ssl- tls-client- x-tls- x-mtls- x-subject-dn x-issuer-dn
	x-certificate x-certificate- cf-cert-`,
)

var longest = func() (n int) {
	for name := range table {
		n = max(n, len(name))
	}
	return n
}()

func words(groups ...string) map[string]bool {
	set := map[string]bool{}
	for _, group := range groups {
		for _, name := range strings.Fields(group) {
			set[name] = true
		}
	}
	return set
}
