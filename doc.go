// Package ipallow decides whether a request made with an API key comes from
// an address on that key's allowlist.
package ipallow
