// Package examples holds programs and packages to copy from, each built and run
// in tests over real sockets: allowlists in servers of net/http, chi, gin, echo and
// gRPC, behind the PROXY protocol, behind nginx and HAProxy, and with the usage log.
// It is a module of its own, so that nothing of it reaches whoever imports the
// engine.
package examples
