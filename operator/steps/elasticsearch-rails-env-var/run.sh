# ELASTICSEARCH_URL from the link's variables.
(
	. "$WERCKER_STEP_ROOT/common.sh"
	address="${ELASTICSEARCH_PORT_9200_TCP_ADDR:-${WERCKER_ELASTICSEARCH_HOST-}}"
	[ -n "$address" ] || fail "there is no Elasticsearch to connect to. Add elasticsearch under services:"
	result "http://$address:${ELASTICSEARCH_PORT_9200_TCP_PORT:-${WERCKER_ELASTICSEARCH_PORT:-9200}}"
) && export "ELASTICSEARCH_URL=$(cat "$WERCKER_STEP_TEMP/result")"
