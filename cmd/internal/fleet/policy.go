package fleet

import (
	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/natsfeed"
)

// NodePolicy is what a gateway demands of a list: no more than that an engine can
// enforce it. The management validates lists, once, by the policy that its
// operator gave it. A gateway with a policy of its own would leave out what its operator
// forgot to allow there too.
func NodePolicy() ipallow.Policy {
	return ipallow.Policy{MaxEntries: natsfeed.MaxEntries, MaxLabel: natsfeed.MaxValueSize, AllowNonPublic: true}
}
