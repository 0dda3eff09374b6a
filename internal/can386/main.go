// Can386 does nothing, and succeeds if it is run: .ci/run asks it whether the
// machine runs programs for GOARCH=386.
package main

func main() {}
