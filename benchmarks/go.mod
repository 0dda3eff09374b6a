module github.com/ipallow/ipallow/benchmarks

go 1.26

require (
	github.com/benbjohnson/immutable v0.4.3
	github.com/gaissmai/bart v0.30.0
	github.com/ipallow/ipallow v0.1.0
	github.com/stretchr/testify v1.12.1
	github.com/yl2chen/cidranger v1.0.2
	go4.org/netipx v0.0.0-20260823151212-3075585bcbeb
)

require (
	github.com/hashicorp/golang-lru/v2 v2.0.7 // indirect
	go.yaml.in/yaml/v3 v3.0.5 // indirect
	golang.org/x/exp v0.0.0-20220518171630-0b5c67f07fdf // indirect
)
