package compare

import (
	_ "github.com/jpillora/ipfilter"
	_ "github.com/realclientip/realclientip-go"
)
