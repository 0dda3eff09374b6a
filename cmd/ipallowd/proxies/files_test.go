package proxies

import (
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"testing"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	authzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	managerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	optionsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/ipallow/ipallow/cmd/internal/claims"
)

// Envoy is not packaged by Debian. Its configuration is read into Envoy's own
// types, with every name and constraint that they know; what is asked over gRPC is
// tested in package extauthz.
func TestEnvoyConfiguration(t *testing.T) {
	var tree any
	readYAML(t, "envoy.yaml", &tree)
	text, err := json.Marshal(tree)
	require.NoError(t, err)
	var bootstrap bootstrapv3.Bootstrap
	require.NoError(t, protojson.Unmarshal(text, &bootstrap)) // an unknown name is an error
	require.NoError(t, bootstrap.ValidateAll())

	listeners := bootstrap.GetStaticResources().GetListeners()
	require.Len(t, listeners, 1)
	var manager managerv3.HttpConnectionManager
	require.NoError(t, listeners[0].GetFilterChains()[0].GetFilters()[0].GetTypedConfig().UnmarshalTo(&manager))
	require.NoError(t, manager.ValidateAll())
	require.True(t, manager.GetUseRemoteAddress().GetValue())
	filters := manager.GetHttpFilters()
	require.Equal(t, []string{"envoy.filters.http.ext_authz", "envoy.filters.http.router"}, []string{filters[0].GetName(), filters[1].GetName()})
	var authz authzv3.ExtAuthz
	require.NoError(t, filters[0].GetTypedConfig().UnmarshalTo(&authz))
	require.NoError(t, authz.ValidateAll())
	require.False(t, authz.GetFailureModeAllow())
	require.True(t, authz.GetEncodeRawHeaders())

	clusters := map[string]bool{}
	for _, c := range bootstrap.GetStaticResources().GetClusters() {
		clusters[c.GetName()] = true
		for _, o := range c.GetTypedExtensionProtocolOptions() {
			var options optionsv3.HttpProtocolOptions
			require.NoError(t, o.UnmarshalTo(&options))
			require.NoError(t, options.ValidateAll())
		}
	}
	require.True(t, clusters[authz.GetGrpcService().GetEnvoyGrpc().GetClusterName()])
	require.True(t, clusters[manager.GetRouteConfig().GetVirtualHosts()[0].GetRoutes()[0].GetRoute().GetCluster()])
}

// A traefikFile is the part of Traefik's published configuration that the files use.
type traefikFile struct {
	HTTP struct {
		Routers map[string]struct {
			Rule        string
			EntryPoints []string `yaml:"entryPoints"`
			Middlewares []string
			Service     string
		}
		Middlewares map[string]struct {
			ForwardAuth *struct {
				Address             string
				TrustForwardHeader  bool     `yaml:"trustForwardHeader"`
				AuthResponseHeaders []string `yaml:"authResponseHeaders"`
			} `yaml:"forwardAuth"`
			Headers *struct {
				CustomRequestHeaders map[string]string `yaml:"customRequestHeaders"`
			}
		}
		Services map[string]struct {
			LoadBalancer struct {
				Servers []struct{ URL string }
			} `yaml:"loadBalancer"`
		}
	}
}

// Traefik is not packaged by Debian either. Its files are read strictly.
func TestTraefikConfiguration(t *testing.T) {
	var file traefikFile
	readYAML(t, "traefik.yaml", &file)
	router := file.HTTP.Routers["api"]
	require.Equal(t, []string{"clean", "ipallow", "keep-the-key"}, router.Middlewares, "claims go first, the key goes last")
	require.Contains(t, file.HTTP.Services, router.Service)
	ask := file.HTTP.Middlewares["ipallow"].ForwardAuth
	require.Equal(t, "http://127.0.0.1:8080/_ipallow/authz", ask.Address)
	require.False(t, ask.TrustForwardHeader)
	require.Equal(t, []string{"X-Ipallow-Key-Id", "X-Ipallow-Client", "X-Request-Id"}, ask.AuthResponseHeaders)
	require.Equal(t, map[string]string{"Authorization": "", "X-API-Key": "", "Upgrade": ""}, file.HTTP.Middlewares["keep-the-key"].Headers.CustomRequestHeaders)

	// Every name in the table that is no family is removed, and nothing that is harmless,
	// that Traefik sets itself, or that ipallowd reads.
	clean := file.HTTP.Middlewares["clean"].Headers.CustomRequestHeaders
	for name, value := range clean {
		require.Empty(t, value, name)
		require.True(t, claims.Header(name), name)
		require.NotContains(t, []string{"Authorization", "X-Api-Key", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"}, name)
	}
	for _, name := range claims.Table() {
		if name != "authorization" && name != "x-api-key" && !strings.HasSuffix(name, "-") {
			require.Contains(t, clean, http.CanonicalHeaderKey(name))
		}
	}

	file = traefikFile{}
	readYAML(t, "traefik-front.yaml", &file)
	router = file.HTTP.Routers["api"]
	require.Equal(t, []string{"clean"}, router.Middlewares)
	require.Equal(t, map[string]string{"X-Forwarded-Prefix": ""}, file.HTTP.Middlewares["clean"].Headers.CustomRequestHeaders)
	require.Equal(t, "http://127.0.0.1:8080", file.HTTP.Services[router.Service].LoadBalancer.Servers[0].URL)
}

func readYAML(t *testing.T, name string, to any) {
	file, err := os.Open(name)
	require.NoError(t, err)
	defer file.Close()
	decoder := yaml.NewDecoder(file)
	decoder.KnownFields(true)
	require.NoError(t, decoder.Decode(to))
}
