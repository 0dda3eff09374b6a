// Command ipallow tries allowlists of IP addresses: it validates them,
// checks addresses, and replays request logs against them.
package main

import (
	"fmt"

	"github.com/ipallow/ipallow"
)

func main() {
	fmt.Println(ipallow.DefaultPolicy())
}
