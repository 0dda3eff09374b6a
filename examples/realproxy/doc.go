// Package realproxy holds tests only: it puts the allowlist behind real nginx and
// HAProxy processes, as X-Forwarded-For, Forwarded, a single-value header and the
// PROXY protocol, and tries to move the client's address through them. The
// attempts stand in attempts_test.go, each with its reason.
//
// The tests need nginx and haproxy, which .ci/install-servers installs, and Linux,
// where all of 127.0.0.0/8 can be bound: clients come from 127.0.0.2 (on the list)
// and 127.0.0.3 (not on it), nginx calls the server from 127.0.0.200 and HAProxy
// from 127.0.0.201.
package realproxy
