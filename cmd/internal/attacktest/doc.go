// Package attacktest attacks the whole reference server as a stranger, a key's
// owner or another web site would: real listeners, real files, bytes as an
// attacker sends them. It has tests only; docs/security.md lists what is tried.
package attacktest
