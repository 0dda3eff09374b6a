// Package conformance holds the cases that every implementation of ipallow's
// rules must answer alike, in whatever language it is written, and checks
// implementations against them.
//
//	func TestConformance(t *testing.T) {
//		conformance.Run(t, myImplementation{})
//	}
//
// The cases are JSON files, which README.md describes together with the
// protocol by which "ipallow conformance" puts them to a program. They hold
// for the default policy unless a case names another.
//
// # Concurrency
//
// The functions of this package may be called from any number of goroutines.
// An [Implementation] is asked one question after another.
package conformance

//go:generate go run ./internal/gen
