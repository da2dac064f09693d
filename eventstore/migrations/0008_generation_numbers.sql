-- Numbers of generations are given once, also when all generations were forgotten: a question that is under way names the
-- table that it reads by its number.
ALTER TABLE erp.projections ADD COLUMN last_generation integer NOT NULL DEFAULT 0;
UPDATE erp.projections p
   SET last_generation = coalesce((SELECT max(g.generation) FROM erp.projection_generations g
                                    WHERE g.projection = p.projection), 0);
