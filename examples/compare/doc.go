// Package compare holds a benchmark only: httpallow beside other middlewares and
// the bare handler, in one run. docs/performance-http.md has the results.
package compare
