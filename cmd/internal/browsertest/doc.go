// Package browsertest drives the settings page in Chromium, with the gateway,
// the keys and the usage log behind it as they are in the server. It has tests
// only.
//
// The tests need the program chromium. Without it they are skipped, and fail
// where the environment says CI=true. IPALLOW_SCREENSHOTS=DIR writes the
// pictures of the documentation to DIR. IPALLOW_AXE=FILE runs axe-core, whose
// axe.min.js FILE is, on every page in every state (npm pack axe-core).
package browsertest
