package engine

import "google.golang.org/protobuf/reflect/protoreflect"

const tlsPackage = "envoy.extensions.transport_sockets.tls.v3."

// tlsFields is what is carried out of TLS contexts and secrets.
var tlsFields = map[protoreflect.FullName]fields{
	tlsPackage + "DownstreamTlsContext": yes("common_tls_context", "require_client_certificate",
		"session_ticket_keys", "session_ticket_keys_sds_secret_config",
		"disable_stateless_session_resumption", "full_scan_certs_on_sni_mismatch",
		"prefer_client_ciphers").
		because("sessions are kept in tickets only", "disable_stateful_session_resumption"),
	tlsPackage + "UpstreamTlsContext": yes("common_tls_context", "sni", "auto_host_sni",
		"auto_sni_san_validation", "max_session_keys"),
	tlsPackage + "CommonTlsContext": yes("tls_params", "tls_certificates",
		"tls_certificate_sds_secret_configs", "validation_context",
		"validation_context_sds_secret_config", "combined_validation_context", "alpn_protocols"),
	tlsPackage + "CommonTlsContext.CombinedCertificateValidationContext": yes(
		"default_validation_context", "validation_context_sds_secret_config"),
	tlsPackage + "CertificateValidationContext": yes("trusted_ca", "verify_certificate_spki",
		"verify_certificate_hash", "match_typed_subject_alt_names", "match_subject_alt_names",
		"crl", "allow_expired_certificate", "trust_chain_verification",
		"only_verify_leaf_cert_crl"),
	tlsPackage + "SubjectAltNameMatcher": yes("san_type", "matcher"),
	tlsPackage + "TlsParameters": yes("tls_minimum_protocol_version",
		"tls_maximum_protocol_version", "cipher_suites", "ecdh_curves"),
	tlsPackage + "TlsCertificate":       yes("certificate_chain", "private_key"),
	tlsPackage + "TlsSessionTicketKeys": yes("keys"),
	tlsPackage + "SdsSecretConfig":      yes("name", "sds_config"),
	tlsPackage + "Secret": yes("name", "tls_certificate", "validation_context",
		"session_ticket_keys"),
	clusterPackage + "Cluster.TransportSocketMatch": yes("name", "match",
		"transport_socket"),
	"envoy.extensions.filters.http.set_filter_state.v3.Config": yes("on_request_headers"),
	"envoy.extensions.filters.common.set_filter_state.v3.FilterStateValue": yes(
		"object_key", "factory_key", "format_string", "shared_with_upstream", "skip_if_empty").
		because("nothing else would set it", "read_only"),
}
