# Uploads what differs, deletes what is gone.
(
	. "$WERCKER_STEP_ROOT/common.sh"
	[ -n "$WERCKER_S3SYNC_KEY_ID" ] || fail "key-id is missing"
	[ -n "$WERCKER_S3SYNC_KEY_SECRET" ] || fail "key-secret is missing"
	case "$WERCKER_S3SYNC_BUCKET_URL" in
	('') fail "bucket-url is missing" ;;
	(s3://?*) ;;
	(*) fail "bucket-url is $WERCKER_S3SYNC_BUCKET_URL: write s3:// and the bucket's name, not the address of its website" ;;
	esac
	bucket="${WERCKER_S3SYNC_BUCKET_URL#s3://}"
	prefix="${bucket#*/}"
	[ "$prefix" != "$bucket" ] || prefix=
	bucket="${bucket%%/*}"
	[ -z "$prefix" ] || prefix="${prefix%/}/"
	case "$WERCKER_S3SYNC_SOURCE_DIR" in
	(/*) directory="$WERCKER_S3SYNC_SOURCE_DIR" ;;
	(*) directory="$WERCKER_ROOT/$WERCKER_S3SYNC_SOURCE_DIR" ;;
	esac
	[ -d "$directory" ] || fail "source-dir is $directory, and there is no such directory"
	headers= exclude= dry=false
	# add_header NAME VALUE
	add_header() { headers="$headers${headers:+,}$(json "$1"):$(json "$2")"; }
	set -- $WERCKER_S3SYNC_OPTS
	while [ "$#" -gt 0 ]; do
		option="$1" && shift
		case "$option" in
		(--*=*) value="${option#*=}" option="${option%%=*}" ;;
		(--add-header | --cache-control | --exclude)
			[ "$#" -gt 0 ] || fail "opts: $option has no value"
			value="$1" && shift
			;;
		esac
		case "$option" in
		(--acl-public | -P) add_header X-Amz-Acl public-read ;;
		(--acl-private) ;;
		(--add-header) add_header "${value%%:*}" "$(printf '%s' "${value#*:}" | sed 's/^ *//')" ;;
		(--cache-control) add_header Cache-Control "$value" ;;
		(--exclude) exclude="$exclude${exclude:+,}$(json "$value")" ;;
		(--dry-run | -n) dry=true ;;
		(--verbose | --no-progress | --no-mime-magic | --guess-mime-type | --no-preserve | --delete-removed | --recursive | -r | -v | -M) ;;
		(*) fail "opts: $option is not supported. There are --acl-public, --acl-private, --add-header, --cache-control, --exclude and --dry-run" ;;
		esac
	done
	delete=false
	! is_true "$WERCKER_S3SYNC_DELETE_REMOVED" || delete=true
	region="${WERCKER_S3SYNC_REGION:-${AWS_REGION:-${AWS_DEFAULT_REGION-}}}"
	endpoint="${WERCKER_S3SYNC_ENDPOINT:-${AWS_ENDPOINT_URL_S3:-${AWS_ENDPOINT_URL-}}}"
	{
		printf '{"directory":%s,"bucket":%s,"prefix":%s,' "$(json "$directory")" "$(json "$bucket")" "$(json "$prefix")"
		printf '"endpoint":%s,"region":%s,' "$(json "$endpoint")" "$(json "$region")"
		printf '"keyId":%s,"keySecret":%s,' "$(json "$WERCKER_S3SYNC_KEY_ID")" "$(json "$WERCKER_S3SYNC_KEY_SECRET")"
		printf '"deleteRemoved":%s,"dryRun":%s,"exclude":[%s],"headers":{%s}}' "$delete" "$dry" "$exclude" "$headers"
	} | "$boxkit" s3sync 2>"$WERCKER_STEP_TEMP/s3.txt" || {
		why="$(cat "$WERCKER_STEP_TEMP/s3.txt")"
		case "$why" in
		(*AccessControlListNotSupported*) why="$why. Buckets made since April 2023 refuse ACLs: set opts to --acl-private, and make the bucket public by a policy" ;;
		esac
		fail "$directory was not synchronized to $WERCKER_S3SYNC_BUCKET_URL: $why"
	}
)
