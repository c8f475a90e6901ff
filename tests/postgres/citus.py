"""What stands in for the Citus extension where it cannot be installed: its catalog and functions, on one node."""

from __future__ import annotations

from typing import Final

from tests.postgres.cluster import Database

# The functions that place tables record their calls. The connected node is the coordinator, `one` and `two` are nodes
# with rows; both answer, and write as the database does, until a test says otherwise.
STAND_IN: Final = """
CREATE TABLE pg_dist_partition (logicalrelid regclass, asked text);
CREATE FUNCTION create_reference_table(table_name regclass) RETURNS void LANGUAGE sql
  AS $$ INSERT INTO pg_dist_partition VALUES (table_name, 'reference') $$;
CREATE FUNCTION create_distributed_table(table_name regclass, distribution_column text,
  distribution_type text DEFAULT 'hash', colocate_with text DEFAULT 'default') RETURNS void LANGUAGE sql
  AS $$ INSERT INTO pg_dist_partition VALUES (table_name, distribution_column || ' with ' || colocate_with) $$;
CREATE TABLE pg_dist_local_group (groupid int);
INSERT INTO pg_dist_local_group VALUES (0);
CREATE TABLE pg_dist_node (nodeid int, groupid int, nodename text, nodeport int, noderole text, shouldhaveshards bool,
  answers bool, settings text);
INSERT INTO pg_dist_node VALUES (1, 0, 'head', 5432, 'primary', false, true, 'on,on,on'),
  (2, 1, 'one', 5432, 'primary', true, true, 'on,on,on'), (3, 2, 'two', 5432, 'primary', true, true, 'on,on,on');
CREATE FUNCTION citus_check_connection_to_node(name text, port int) RETURNS bool LANGUAGE sql
  AS $$ SELECT answers FROM pg_dist_node WHERE (nodename, nodeport) = (name, port) $$;
CREATE FUNCTION run_command_on_all_nodes(command text, parallel bool DEFAULT true, give_warning bool DEFAULT false)
  RETURNS TABLE (nodeid int, success bool, result text) LANGUAGE sql
  AS $$ SELECT nodeid, answers, CASE WHEN answers THEN settings ELSE 'connection refused' END FROM pg_dist_node $$;
SET allow_system_table_mods = on;
INSERT INTO pg_extension (oid, extname, extowner, extnamespace, extrelocatable, extversion)
  VALUES (99999, 'citus', 10, 'public'::regnamespace, false, '13.2')"""

# A write to a project of a lost node fails as on the coordinator: with an error of the connection to another one.
_LOST_NODE: Final = """
CREATE FUNCTION lost() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  IF NEW.project LIKE 'lost/%' THEN
    RAISE EXCEPTION 'connection to the remote node two:5432 failed' USING ERRCODE = '08006';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER lost BEFORE INSERT OR UPDATE ON project FOR EACH ROW EXECUTE FUNCTION lost();
UPDATE pg_dist_node SET answers = false WHERE nodename = 'two'"""


def lose_a_node(database: Database) -> None:
    """From now on the node of the projects `lost/…` is not to be had."""
    database.execute(_LOST_NODE)


def find_the_node(database: Database) -> None:
    """It is there again."""
    database.execute("DROP TRIGGER lost ON project; UPDATE pg_dist_node SET answers = true")
