# config/mongoid.yml for the linked MongoDB.
(
	. "$WERCKER_STEP_ROOT/common.sh"
	address="${MONGO_PORT_27017_TCP_ADDR:-${MONGODB_PORT_27017_TCP_ADDR:-${WERCKER_MONGODB_HOST-}}}"
	port="${MONGO_PORT_27017_TCP_PORT:-${MONGODB_PORT_27017_TCP_PORT:-${WERCKER_MONGODB_PORT:-27017}}}"
	[ -n "$address" ] || fail "there is no MongoDB to connect to. Add mongo under services:"
	mkdir -p config && cat >config/mongoid.yml <<-END || fail "cannot write config/mongoid.yml"
		test:
		  clients:
		    default:
		      database: $WERCKER_RAILS_MONGOID_YML_DB_NAME
		      hosts:
		        - $address:$port
	END
	cat config/mongoid.yml
) && export MONGOID_ENV=test
