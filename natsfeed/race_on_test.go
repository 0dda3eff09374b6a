//go:build race

package natsfeed

const raceEnabled = true
