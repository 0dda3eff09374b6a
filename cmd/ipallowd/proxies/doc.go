// Package proxies holds configurations to copy, by which nginx, Caddy, HAProxy,
// Traefik and Envoy ask ipallowd about each request, and the tests that start real
// nginx, Caddy and HAProxy with them, and applications in PHP behind. README.md tells
// which is which.
//
// The tests need these programs, which .ci/install-servers installs, and Linux, where all of 127.0.0.0/8 can be bound: clients come from 127.0.0.2 (on the
// list) and 127.0.0.3 (not on it), and the proxies call from 127.0.0.1.
package proxies
