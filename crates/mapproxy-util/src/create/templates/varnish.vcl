# {{config}} behind Varnish. On Debian: /etc/varnish/default.vcl, then `systemctl reload varnish`.
#
# Behind it runs:  {{command}}

vcl 4.1;

backend mapproxy {
    {{backend}}
    .first_byte_timeout = 120s;
}

# Who may say that the client came by https: the program that ends TLS in front of Varnish.
acl tls {
    "127.0.0.1";
    "::1";
}

sub vcl_recv {
    if (req.url !~ "^{{prefix_pattern}}/") {
        return (synth(404));
    }
    # The addresses in documents are those that the client sees. What a client says of itself does not count.
    set req.http.X-Script-Name = "{{prefix}}";
    set req.http.X-Forwarded-Host = req.http.Host;
    if (client.ip !~ tls || req.http.X-Forwarded-Proto != "https") {
        set req.http.X-Forwarded-Proto = "http";
    }
    unset req.http.X-Forwarded-Prefix;
    unset req.http.Forwarded;
    # Maps do not depend on cookies.
    unset req.http.Cookie;
}

sub vcl_hash {
    hash_data(req.http.X-Forwarded-Proto);
}

sub vcl_backend_response {
    # Tiles say how long they may be kept; what says nothing is asked for again.
    if (!beresp.http.Cache-Control) {
        set beresp.ttl = 0s;
        set beresp.grace = 0s;
        set beresp.uncacheable = true;
    } else if (beresp.ttl > 0s) {
        # While a tile is fetched anew, or cannot be, the old one is good enough.
        set beresp.grace = 1h;
    }
}
