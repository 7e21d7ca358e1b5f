BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0004');
CREATE TABLE batch (
	id INTEGER NOT NULL, 
	season_id INTEGER NOT NULL, 
	name VARCHAR(120) NOT NULL, 
	created_at VARCHAR(27) NOT NULL, 
	project_id INTEGER, 
	subject_set_id INTEGER, 
	subject_set_name TEXT, 
	lease_run_id INTEGER, 
	lease_token INTEGER DEFAULT '0' NOT NULL, 
	lease_until VARCHAR(27), 
	CONSTRAINT pk_batch PRIMARY KEY (id), 
	CONSTRAINT fk_batch_season_id FOREIGN KEY(season_id) REFERENCES season (id), 
	CONSTRAINT fk_batch_lease_run_id FOREIGN KEY(lease_run_id) REFERENCES run (id), 
	CONSTRAINT uq_batch_season_id_name UNIQUE (season_id, name)
);
INSERT INTO "batch" VALUES(1,1,'batch_1','2026-01-05T06:00:00.881173Z',1001,5001,'OLD_S1_batch_1',NULL,3,NULL);
INSERT INTO "batch" VALUES(2,1,'batch_2','2026-01-05T06:00:00.882481Z',1001,5002,'OLD_S1_batch_2',NULL,3,NULL);
CREATE TABLE capture (
	id INTEGER NOT NULL, 
	capture_id VARCHAR(255) NOT NULL, 
	season_id INTEGER NOT NULL, 
	season VARCHAR(120) NOT NULL, 
	site VARCHAR(255) NOT NULL, 
	roll VARCHAR(80) NOT NULL, 
	capture VARCHAR(40) NOT NULL, 
	capture_number INTEGER NOT NULL, 
	metadata TEXT, 
	state VARCHAR(16) NOT NULL, 
	excluded TEXT, 
	batch_id INTEGER, 
	subject_id INTEGER, 
	run_id INTEGER, 
	moved_at VARCHAR(27) NOT NULL, 
	reason TEXT, 
	claim INTEGER DEFAULT '0' NOT NULL, 
	create_run_id INTEGER, 
	create_sent_at VARCHAR(27), 
	create_floor INTEGER, 
	ambiguous_at VARCHAR(27), rule TEXT, position INTEGER, metadata_pending VARCHAR(27), 
	CONSTRAINT pk_capture PRIMARY KEY (id), 
	CONSTRAINT fk_capture_season_id FOREIGN KEY(season_id) REFERENCES season (id), 
	CONSTRAINT fk_capture_state FOREIGN KEY(state) REFERENCES state (name), 
	CONSTRAINT fk_capture_batch_id FOREIGN KEY(batch_id) REFERENCES batch (id), 
	CONSTRAINT fk_capture_run_id FOREIGN KEY(run_id) REFERENCES run (id), 
	CONSTRAINT fk_capture_create_run_id FOREIGN KEY(create_run_id) REFERENCES run (id), 
	CONSTRAINT uq_capture_capture_id UNIQUE (capture_id), 
	CONSTRAINT uq_capture_subject_id UNIQUE (subject_id), 
	CONSTRAINT ck_capture_has_subject CHECK (subject_id IS NOT NULL OR state NOT IN ('uploaded', 'removed')), 
	CONSTRAINT ck_capture_has_batch CHECK (batch_id IS NOT NULL OR state IN ('manifested', 'predicted')), 
	CONSTRAINT ck_capture_has_run CHECK (run_id IS NOT NULL OR state <> 'uploading'), 
	CONSTRAINT ck_capture_ambiguous_or_known CHECK (ambiguous_at IS NULL OR subject_id IS NULL), 
	CONSTRAINT ck_capture_doubt_is_marked CHECK (create_sent_at IS NULL OR ambiguous_at IS NOT NULL OR state = 'uploading')
);
INSERT INTO "capture" VALUES(1,'OLD_S1#B04#1#3',1,'OLD_S1','B04','1','3',3,NULL,'failed',NULL,1,100001,4,'2026-01-05T06:00:02.064316Z','PUT of an image: 413 [request 7b8ba0e14c6eb9197408fe2ed160eea4]',1,NULL,NULL,NULL,NULL,NULL,1,NULL);
INSERT INTO "capture" VALUES(2,'OLD_S1#B04#1#6',1,'OLD_S1','B04','1','6',6,NULL,'removed',NULL,1,100002,5,'2026-01-05T06:00:02.823280Z','a test',1,NULL,NULL,NULL,NULL,NULL,2,NULL);
INSERT INTO "capture" VALUES(3,'OLD_S1#B04#1#9',1,'OLD_S1','B04','1','9',9,NULL,'deleted',NULL,1,100003,6,'2026-01-05T06:00:03.477392Z','a test',1,NULL,NULL,NULL,NULL,NULL,3,NULL);
INSERT INTO "capture" VALUES(4,'OLD_S1#B04#1#12',1,'OLD_S1','B04','1','12',12,NULL,'uploaded',NULL,1,100004,4,'2026-01-05T06:00:02.113134Z',NULL,1,NULL,NULL,NULL,NULL,NULL,4,NULL);
INSERT INTO "capture" VALUES(5,'OLD_S1#C11#1#1',1,'OLD_S1','C11','1','1',1,NULL,'uploaded',NULL,1,100005,4,'2026-01-05T06:00:02.113236Z',NULL,1,NULL,NULL,NULL,NULL,NULL,5,NULL);
INSERT INTO "capture" VALUES(6,'OLD_S1#C11#1#4',1,'OLD_S1','C11','1','4',4,NULL,'failed',NULL,1,NULL,4,'2026-01-05T06:00:02.019502Z','@ROOT@/images/OLD_S1/C11/C11_R1/OLD_S1_C11_R1_IMAG0004_1.JPG: not a usable image (it is no JPEG, PNG, TIFF, BMP, WebP or GIF)',1,NULL,NULL,NULL,NULL,NULL,6,NULL);
INSERT INTO "capture" VALUES(7,'OLD_S1#C11#1#7',1,'OLD_S1','C11','1','7',7,NULL,'uploaded',NULL,2,100006,8,'2026-01-05T06:00:05.705430Z',NULL,2,NULL,NULL,NULL,NULL,NULL,1,NULL);
INSERT INTO "capture" VALUES(8,'OLD_S1#C11#1#10',1,'OLD_S1','C11','1','10',10,NULL,'uploading',NULL,2,NULL,8,'2026-01-05T06:00:05.653885Z',NULL,2,7,'2026-01-05T06:00:04.654222Z',100005,'2026-01-05T06:00:05.631390Z',NULL,2,NULL);
INSERT INTO "capture" VALUES(9,'OLD_S1#C11#1#13',1,'OLD_S1','C11','1','13',13,NULL,'uploading',NULL,2,NULL,8,'2026-01-05T06:00:05.653885Z',NULL,2,7,'2026-01-05T06:00:04.654347Z',100005,'2026-01-05T06:00:05.631390Z',NULL,3,NULL);
INSERT INTO "capture" VALUES(10,'OLD_S1#Wasserstelle_Süd#1#2',1,'OLD_S1','Wasserstelle_Süd','1','2',2,NULL,'batched',NULL,2,NULL,7,'2026-01-05T06:00:05.631390Z','run is gone; it may have made a subject: to be looked for',1,7,'2026-01-05T06:00:04.654447Z',100005,'2026-01-05T06:00:05.631390Z',NULL,4,NULL);
INSERT INTO "capture" VALUES(11,'OLD_S1#Wasserstelle_Süd#1#5',1,'OLD_S1','Wasserstelle_Süd','1','5',5,NULL,'batched',NULL,2,NULL,7,'2026-01-05T06:00:05.631390Z','run is gone; it may have made a subject: to be looked for',1,7,'2026-01-05T06:00:04.654548Z',100005,'2026-01-05T06:00:05.631390Z',NULL,5,NULL);
INSERT INTO "capture" VALUES(12,'OLD_S1#Wasserstelle_Süd#1#8',1,'OLD_S1','Wasserstelle_Süd','1','8',8,NULL,'batched',NULL,2,NULL,7,'2026-01-05T06:00:05.631390Z','run is gone',1,NULL,NULL,NULL,NULL,NULL,6,NULL);
INSERT INTO "capture" VALUES(13,'OLD_S1#Wasserstelle_Süd#1#11',1,'OLD_S1','Wasserstelle_Süd','1','11',11,NULL,'batched',NULL,2,NULL,7,'2026-01-05T06:00:05.631390Z','run is gone',1,NULL,NULL,NULL,NULL,NULL,7,NULL);
INSERT INTO "capture" VALUES(14,'OLD_S1#B04#1#15',1,'OLD_S1','B04','1','15',15,NULL,'predicted',NULL,NULL,NULL,10,'2026-01-05T06:00:06.799447Z',NULL,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "capture" VALUES(15,'OLD_S1#C11#1#16',1,'OLD_S1','C11','1','16',16,NULL,'manifested','a test',NULL,NULL,9,'2026-01-05T06:00:06.363750Z',NULL,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "capture" VALUES(16,'OLD_S1#Wasserstelle_Süd#1#14',1,'OLD_S1','Wasserstelle_Süd','1','14',14,NULL,'manifested',NULL,NULL,NULL,9,'2026-01-05T06:00:06.363750Z',NULL,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
CREATE TABLE classification_status (
	capture_id INTEGER NOT NULL, 
	workflow_id INTEGER NOT NULL, 
	subject_id INTEGER NOT NULL, 
	classifications_count INTEGER NOT NULL, 
	retired_at VARCHAR(40), 
	retirement_reason VARCHAR(40), 
	seen_at VARCHAR(27) NOT NULL, 
	CONSTRAINT pk_classification_status PRIMARY KEY (capture_id, workflow_id), 
	CONSTRAINT fk_classification_status_capture_id FOREIGN KEY(capture_id) REFERENCES capture (id)
);
CREATE TABLE event (
	id INTEGER NOT NULL, 
	capture_id INTEGER NOT NULL, 
	at VARCHAR(27) NOT NULL, 
	source VARCHAR(16), 
	target VARCHAR(16) NOT NULL, 
	run_id INTEGER, 
	subject_id INTEGER, 
	reason TEXT, 
	CONSTRAINT pk_event PRIMARY KEY (id), 
	CONSTRAINT fk_event_capture_id FOREIGN KEY(capture_id) REFERENCES capture (id)
);
INSERT INTO "event" VALUES(1,1,'2026-01-05T06:00:00.002577Z',NULL,'manifested',1,NULL,NULL);
INSERT INTO "event" VALUES(2,2,'2026-01-05T06:00:00.002577Z',NULL,'manifested',1,NULL,NULL);
INSERT INTO "event" VALUES(3,3,'2026-01-05T06:00:00.002577Z',NULL,'manifested',1,NULL,NULL);
INSERT INTO "event" VALUES(4,4,'2026-01-05T06:00:00.002577Z',NULL,'manifested',1,NULL,NULL);
INSERT INTO "event" VALUES(5,5,'2026-01-05T06:00:00.002577Z',NULL,'manifested',1,NULL,NULL);
INSERT INTO "event" VALUES(6,6,'2026-01-05T06:00:00.002577Z',NULL,'manifested',1,NULL,NULL);
INSERT INTO "event" VALUES(7,7,'2026-01-05T06:00:00.002577Z',NULL,'manifested',1,NULL,NULL);
INSERT INTO "event" VALUES(8,8,'2026-01-05T06:00:00.002577Z',NULL,'manifested',1,NULL,NULL);
INSERT INTO "event" VALUES(9,9,'2026-01-05T06:00:00.002577Z',NULL,'manifested',1,NULL,NULL);
INSERT INTO "event" VALUES(10,10,'2026-01-05T06:00:00.002577Z',NULL,'manifested',1,NULL,NULL);
INSERT INTO "event" VALUES(11,11,'2026-01-05T06:00:00.002577Z',NULL,'manifested',1,NULL,NULL);
INSERT INTO "event" VALUES(12,12,'2026-01-05T06:00:00.002577Z',NULL,'manifested',1,NULL,NULL);
INSERT INTO "event" VALUES(13,13,'2026-01-05T06:00:00.002577Z',NULL,'manifested',1,NULL,NULL);
INSERT INTO "event" VALUES(14,5,'2026-01-05T06:00:00.563666Z','manifested','predicted',2,NULL,NULL);
INSERT INTO "event" VALUES(15,7,'2026-01-05T06:00:00.563666Z','manifested','predicted',2,NULL,NULL);
INSERT INTO "event" VALUES(16,10,'2026-01-05T06:00:00.563666Z','manifested','predicted',2,NULL,NULL);
INSERT INTO "event" VALUES(17,12,'2026-01-05T06:00:00.563666Z','manifested','predicted',2,NULL,NULL);
INSERT INTO "event" VALUES(18,1,'2026-01-05T06:00:00.880763Z','manifested','batched',3,NULL,NULL);
INSERT INTO "event" VALUES(19,2,'2026-01-05T06:00:00.880763Z','manifested','batched',3,NULL,NULL);
INSERT INTO "event" VALUES(20,3,'2026-01-05T06:00:00.880763Z','manifested','batched',3,NULL,NULL);
INSERT INTO "event" VALUES(21,4,'2026-01-05T06:00:00.880763Z','manifested','batched',3,NULL,NULL);
INSERT INTO "event" VALUES(22,5,'2026-01-05T06:00:00.880763Z','predicted','batched',3,NULL,NULL);
INSERT INTO "event" VALUES(23,6,'2026-01-05T06:00:00.880763Z','manifested','batched',3,NULL,NULL);
INSERT INTO "event" VALUES(24,7,'2026-01-05T06:00:00.880763Z','predicted','batched',3,NULL,NULL);
INSERT INTO "event" VALUES(25,8,'2026-01-05T06:00:00.880763Z','manifested','batched',3,NULL,NULL);
INSERT INTO "event" VALUES(26,9,'2026-01-05T06:00:00.880763Z','manifested','batched',3,NULL,NULL);
INSERT INTO "event" VALUES(27,10,'2026-01-05T06:00:00.880763Z','predicted','batched',3,NULL,NULL);
INSERT INTO "event" VALUES(28,11,'2026-01-05T06:00:00.880763Z','manifested','batched',3,NULL,NULL);
INSERT INTO "event" VALUES(29,12,'2026-01-05T06:00:00.880763Z','predicted','batched',3,NULL,NULL);
INSERT INTO "event" VALUES(30,13,'2026-01-05T06:00:00.880763Z','manifested','batched',3,NULL,NULL);
INSERT INTO "event" VALUES(31,1,'2026-01-05T06:00:01.960935Z','batched','uploading',4,NULL,NULL);
INSERT INTO "event" VALUES(32,2,'2026-01-05T06:00:01.960935Z','batched','uploading',4,NULL,NULL);
INSERT INTO "event" VALUES(33,3,'2026-01-05T06:00:01.960935Z','batched','uploading',4,NULL,NULL);
INSERT INTO "event" VALUES(34,4,'2026-01-05T06:00:01.960935Z','batched','uploading',4,NULL,NULL);
INSERT INTO "event" VALUES(35,5,'2026-01-05T06:00:01.960935Z','batched','uploading',4,NULL,NULL);
INSERT INTO "event" VALUES(36,6,'2026-01-05T06:00:01.960935Z','batched','uploading',4,NULL,NULL);
INSERT INTO "event" VALUES(37,6,'2026-01-05T06:00:02.019502Z','uploading','failed',4,NULL,'@ROOT@/images/OLD_S1/C11/C11_R1/OLD_S1_C11_R1_IMAG0004_1.JPG: not a usable image (it is no JPEG, PNG, TIFF, BMP, WebP or GIF)');
INSERT INTO "event" VALUES(38,1,'2026-01-05T06:00:02.064316Z','uploading','failed',4,100001,'PUT of an image: 413 [request 7b8ba0e14c6eb9197408fe2ed160eea4]');
INSERT INTO "event" VALUES(39,2,'2026-01-05T06:00:02.112595Z','uploading','uploaded',4,100002,NULL);
INSERT INTO "event" VALUES(40,3,'2026-01-05T06:00:02.112988Z','uploading','uploaded',4,100003,NULL);
INSERT INTO "event" VALUES(41,4,'2026-01-05T06:00:02.113134Z','uploading','uploaded',4,100004,NULL);
INSERT INTO "event" VALUES(42,5,'2026-01-05T06:00:02.113236Z','uploading','uploaded',4,100005,NULL);
INSERT INTO "event" VALUES(43,2,'2026-01-05T06:00:02.823280Z','uploaded','removed',5,100002,'a test');
INSERT INTO "event" VALUES(44,3,'2026-01-05T06:00:03.477392Z','uploaded','deleted',6,100003,'a test');
INSERT INTO "event" VALUES(45,7,'2026-01-05T06:00:04.591153Z','batched','uploading',7,NULL,NULL);
INSERT INTO "event" VALUES(46,8,'2026-01-05T06:00:04.591153Z','batched','uploading',7,NULL,NULL);
INSERT INTO "event" VALUES(47,9,'2026-01-05T06:00:04.591153Z','batched','uploading',7,NULL,NULL);
INSERT INTO "event" VALUES(48,10,'2026-01-05T06:00:04.591153Z','batched','uploading',7,NULL,NULL);
INSERT INTO "event" VALUES(49,11,'2026-01-05T06:00:04.591153Z','batched','uploading',7,NULL,NULL);
INSERT INTO "event" VALUES(50,12,'2026-01-05T06:00:04.591153Z','batched','uploading',7,NULL,NULL);
INSERT INTO "event" VALUES(51,13,'2026-01-05T06:00:04.591153Z','batched','uploading',7,NULL,NULL);
INSERT INTO "event" VALUES(52,7,'2026-01-05T06:00:05.631390Z','uploading','batched',7,100006,'run is gone');
INSERT INTO "event" VALUES(53,8,'2026-01-05T06:00:05.631390Z','uploading','batched',7,NULL,'run is gone; it may have made a subject: to be looked for');
INSERT INTO "event" VALUES(54,9,'2026-01-05T06:00:05.631390Z','uploading','batched',7,NULL,'run is gone; it may have made a subject: to be looked for');
INSERT INTO "event" VALUES(55,10,'2026-01-05T06:00:05.631390Z','uploading','batched',7,NULL,'run is gone; it may have made a subject: to be looked for');
INSERT INTO "event" VALUES(56,11,'2026-01-05T06:00:05.631390Z','uploading','batched',7,NULL,'run is gone; it may have made a subject: to be looked for');
INSERT INTO "event" VALUES(57,12,'2026-01-05T06:00:05.631390Z','uploading','batched',7,NULL,'run is gone');
INSERT INTO "event" VALUES(58,13,'2026-01-05T06:00:05.631390Z','uploading','batched',7,NULL,'run is gone');
INSERT INTO "event" VALUES(59,7,'2026-01-05T06:00:05.653885Z','batched','uploading',8,100006,NULL);
INSERT INTO "event" VALUES(60,8,'2026-01-05T06:00:05.653885Z','batched','uploading',8,NULL,NULL);
INSERT INTO "event" VALUES(61,9,'2026-01-05T06:00:05.653885Z','batched','uploading',8,NULL,NULL);
INSERT INTO "event" VALUES(62,7,'2026-01-05T06:00:05.705430Z','uploading','uploaded',8,100006,NULL);
INSERT INTO "event" VALUES(63,14,'2026-01-05T06:00:06.363750Z',NULL,'manifested',9,NULL,NULL);
INSERT INTO "event" VALUES(64,15,'2026-01-05T06:00:06.363750Z',NULL,'manifested',9,NULL,NULL);
INSERT INTO "event" VALUES(65,16,'2026-01-05T06:00:06.363750Z',NULL,'manifested',9,NULL,NULL);
INSERT INTO "event" VALUES(66,14,'2026-01-05T06:00:06.799447Z','manifested','predicted',10,NULL,NULL);
CREATE TABLE image (
	id INTEGER NOT NULL, 
	capture_id INTEGER NOT NULL, 
	rank INTEGER NOT NULL, 
	path TEXT NOT NULL, 
	problem VARCHAR(16), 
	problem_reason TEXT, 
	md5 VARCHAR(32), 
	bytes INTEGER, 
	note TEXT, 
	arrived_at VARCHAR(27), covered_problem VARCHAR(16), covered_reason TEXT, 
	CONSTRAINT pk_image PRIMARY KEY (id), 
	CONSTRAINT fk_image_capture_id FOREIGN KEY(capture_id) REFERENCES capture (id), 
	CONSTRAINT uq_image_capture_id_rank UNIQUE (capture_id, rank)
);
INSERT INTO "image" VALUES(1,1,1,'OLD_S1/B04/B04_R1/OLD_S1_B04_R1_IMAG0003_1.JPG',NULL,NULL,'8900fd299ead19bb9d1f0f7b0026df24',902,NULL,NULL,NULL,NULL);
INSERT INTO "image" VALUES(2,1,2,'OLD_S1/B04/B04_R1/OLD_S1_B04_R1_IMAG0003_2.JPG',NULL,NULL,'2e58b7f4d242e76f7af3ce4b8cf548b7',891,NULL,NULL,NULL,NULL);
INSERT INTO "image" VALUES(3,1,3,'OLD_S1/B04/B04_R1/OLD_S1_B04_R1_IMAG0003_3.JPG',NULL,NULL,'7741a2a77e7d5dfe7406ec83266a70a5',885,NULL,NULL,NULL,NULL);
INSERT INTO "image" VALUES(4,2,1,'OLD_S1/B04/B04_R1/OLD_S1_B04_R1_IMAG0006_1.JPG',NULL,NULL,'a0b08b5f70412a158c1d2856f747d1f4',888,NULL,'2026-01-05T06:00:02.064701Z',NULL,NULL);
INSERT INTO "image" VALUES(5,2,2,'OLD_S1/B04/B04_R1/OLD_S1_B04_R1_IMAG0006_2.JPG',NULL,NULL,'1ff4be70c97dc5141137e189e7829996',895,NULL,'2026-01-05T06:00:02.064701Z',NULL,NULL);
INSERT INTO "image" VALUES(6,2,3,'OLD_S1/B04/B04_R1/OLD_S1_B04_R1_IMAG0006_3.JPG',NULL,NULL,'339b47ab6cf6a5d5057397e8f5713da0',893,NULL,'2026-01-05T06:00:02.064701Z',NULL,NULL);
INSERT INTO "image" VALUES(7,3,1,'OLD_S1/B04/B04_R1/OLD_S1_B04_R1_IMAG0009_1.JPG',NULL,NULL,'6a7a15ffd1cba863502a440ccfbd5d41',892,NULL,'2026-01-05T06:00:02.064919Z',NULL,NULL);
INSERT INTO "image" VALUES(8,3,2,'OLD_S1/B04/B04_R1/OLD_S1_B04_R1_IMAG0009_2.JPG',NULL,NULL,'f067acb1bbd4d08db087b5a0d731a5ff',893,NULL,'2026-01-05T06:00:02.064919Z',NULL,NULL);
INSERT INTO "image" VALUES(9,3,3,'OLD_S1/B04/B04_R1/OLD_S1_B04_R1_IMAG0009_3.JPG',NULL,NULL,'ecd23e14926eda5fd4c0b1c3532019f8',901,NULL,'2026-01-05T06:00:02.064919Z',NULL,NULL);
INSERT INTO "image" VALUES(10,4,1,'OLD_S1/B04/B04_R1/OLD_S1_B04_R1_IMAG0012_1.JPG',NULL,NULL,'f5df5760b26aca35c3901bacb0fbd961',881,NULL,'2026-01-05T06:00:02.065023Z',NULL,NULL);
INSERT INTO "image" VALUES(11,4,2,'OLD_S1/B04/B04_R1/OLD_S1_B04_R1_IMAG0012_2.JPG',NULL,NULL,'8f5c0443564329aa7bc204859113200c',885,NULL,'2026-01-05T06:00:02.065023Z',NULL,NULL);
INSERT INTO "image" VALUES(12,4,3,'OLD_S1/B04/B04_R1/OLD_S1_B04_R1_IMAG0012_3.JPG',NULL,NULL,'430fddb72b21105a23fdb01744b487d9',892,NULL,'2026-01-05T06:00:02.065023Z',NULL,NULL);
INSERT INTO "image" VALUES(13,5,1,'OLD_S1/C11/C11_R1/OLD_S1_C11_R1_IMAG0001_1.JPG',NULL,NULL,'38d0062bbd61f71c74c3b6dbc420c20e',876,NULL,'2026-01-05T06:00:02.065120Z',NULL,NULL);
INSERT INTO "image" VALUES(14,6,1,'OLD_S1/C11/C11_R1/OLD_S1_C11_R1_IMAG0004_1.JPG',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "image" VALUES(15,6,2,'OLD_S1/C11/C11_R1/OLD_S1_C11_R1_IMAG0004_2.JPG',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "image" VALUES(16,6,3,'OLD_S1/C11/C11_R1/OLD_S1_C11_R1_IMAG0004_3.JPG',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "image" VALUES(17,7,1,'OLD_S1/C11/C11_R1/OLD_S1_C11_R1_IMAG0007_1.JPG',NULL,NULL,'519f5728205bc97bf7be4cfc3da1076b',885,NULL,'2026-01-05T06:00:04.699239Z',NULL,NULL);
INSERT INTO "image" VALUES(18,7,2,'OLD_S1/C11/C11_R1/OLD_S1_C11_R1_IMAG0007_2.JPG',NULL,NULL,'7a76d4ea6f89ee22cf223ff9c941fc17',871,NULL,'2026-01-05T06:00:04.699239Z',NULL,NULL);
INSERT INTO "image" VALUES(19,7,3,'OLD_S1/C11/C11_R1/OLD_S1_C11_R1_IMAG0007_3.JPG',NULL,NULL,'9742799fb3344698d35a0642e63bb97d',881,NULL,'2026-01-05T06:00:04.699239Z',NULL,NULL);
INSERT INTO "image" VALUES(20,8,1,'OLD_S1/C11/C11_R1/OLD_S1_C11_R1_IMAG0010_1.JPG',NULL,NULL,'4c0c7c521f8c76d17ade0e84f77856da',884,NULL,NULL,NULL,NULL);
INSERT INTO "image" VALUES(21,9,1,'OLD_S1/C11/C11_R1/OLD_S1_C11_R1_IMAG0013_1.JPG',NULL,NULL,'e68afcb364f354ce2830ba76f7db79f1',877,NULL,NULL,NULL,NULL);
INSERT INTO "image" VALUES(22,9,2,'OLD_S1/C11/C11_R1/OLD_S1_C11_R1_IMAG0013_2.JPG',NULL,NULL,'82ed14aacbded84e318e408a2acf05a6',885,NULL,NULL,NULL,NULL);
INSERT INTO "image" VALUES(23,9,3,'OLD_S1/C11/C11_R1/OLD_S1_C11_R1_IMAG0013_3.JPG',NULL,NULL,'fc103915b41c5471ed7e14008b7ac7a7',881,NULL,NULL,NULL,NULL);
INSERT INTO "image" VALUES(24,10,1,'OLD_S1/Wasserstelle_Süd/Wasserstelle_Süd_R1/OLD_S1_Wasserstelle_Süd_R1_IMAG0002_1.JPG',NULL,NULL,'6f6c02dd235117b9e703273b2b8053c5',869,NULL,NULL,NULL,NULL);
INSERT INTO "image" VALUES(25,10,2,'OLD_S1/Wasserstelle_Süd/Wasserstelle_Süd_R1/OLD_S1_Wasserstelle_Süd_R1_IMAG0002_2.JPG',NULL,NULL,'d2e12426e9a809006bda64d2fb9d4bfb',865,NULL,NULL,NULL,NULL);
INSERT INTO "image" VALUES(26,11,1,'OLD_S1/Wasserstelle_Süd/Wasserstelle_Süd_R1/OLD_S1_Wasserstelle_Süd_R1_IMAG0005_1.JPG',NULL,NULL,'613258effdd947b2659dccc5656ecd74',894,NULL,NULL,NULL,NULL);
INSERT INTO "image" VALUES(27,11,2,'OLD_S1/Wasserstelle_Süd/Wasserstelle_Süd_R1/OLD_S1_Wasserstelle_Süd_R1_IMAG0005_2.JPG',NULL,NULL,'f668a311c5d604aaa6826e3db6bc58e7',887,NULL,NULL,NULL,NULL);
INSERT INTO "image" VALUES(28,12,1,'OLD_S1/Wasserstelle_Süd/Wasserstelle_Süd_R1/OLD_S1_Wasserstelle_Süd_R1_IMAG0008_1.JPG',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "image" VALUES(29,13,1,'OLD_S1/Wasserstelle_Süd/Wasserstelle_Süd_R1/OLD_S1_Wasserstelle_Süd_R1_IMAG0011_1.JPG',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "image" VALUES(30,14,1,'OLD_S1/B04/B04_R1/OLD_S1_B04_R1_IMAG0015_1.JPG',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "image" VALUES(31,14,2,'OLD_S1/B04/B04_R1/OLD_S1_B04_R1_IMAG0015_2.JPG',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "image" VALUES(32,15,1,'OLD_S1/C11/C11_R1/OLD_S1_C11_R1_IMAG0016_1.JPG',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "image" VALUES(33,15,2,'OLD_S1/C11/C11_R1/OLD_S1_C11_R1_IMAG0016_2.JPG',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "image" VALUES(34,15,3,'OLD_S1/C11/C11_R1/OLD_S1_C11_R1_IMAG0016_3.JPG',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "image" VALUES(35,16,1,'OLD_S1/Wasserstelle_Süd/Wasserstelle_Süd_R1/OLD_S1_Wasserstelle_Süd_R1_IMAG0014_1.JPG',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "image" VALUES(36,16,2,'OLD_S1/Wasserstelle_Süd/Wasserstelle_Süd_R1/OLD_S1_Wasserstelle_Süd_R1_IMAG0014_2.JPG',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "image" VALUES(37,16,3,'OLD_S1/Wasserstelle_Süd/Wasserstelle_Süd_R1/OLD_S1_Wasserstelle_Süd_R1_IMAG0014_3.JPG',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
CREATE TABLE legacy_subject (
	id INTEGER NOT NULL, 
	capture_id INTEGER NOT NULL, 
	subject_id INTEGER, 
	subject_set_id INTEGER, 
	subject_set_name TEXT, 
	upload_time VARCHAR(40), 
	source_file TEXT NOT NULL, 
	run_id INTEGER, 
	imported_at VARCHAR(27) NOT NULL, 
	checked_at VARCHAR(27), 
	outcome TEXT, 
	CONSTRAINT pk_legacy_subject PRIMARY KEY (id), 
	CONSTRAINT fk_legacy_subject_capture_id FOREIGN KEY(capture_id) REFERENCES capture (id), 
	CONSTRAINT fk_legacy_subject_run_id FOREIGN KEY(run_id) REFERENCES run (id), 
	CONSTRAINT uq_legacy_subject_capture_id_subject_id UNIQUE (capture_id, subject_id)
);
CREATE TABLE meta (
	name VARCHAR(40) NOT NULL, 
	value TEXT NOT NULL, 
	CONSTRAINT pk_meta PRIMARY KEY (name)
);
INSERT INTO "meta" VALUES('ledger_id','36a638d6775a');
INSERT INTO "meta" VALUES('endpoint','@ENDPOINT@');
CREATE TABLE prediction (
	id INTEGER NOT NULL, 
	capture_id INTEGER NOT NULL, 
	source VARCHAR(40) NOT NULL, 
	metadata TEXT NOT NULL, 
	run_id INTEGER, 
	made_at VARCHAR(27) NOT NULL, file_id INTEGER CONSTRAINT fk_prediction_file_id REFERENCES prediction_file (id), machine_animal FLOAT, machine_person FLOAT, machine_vehicle FLOAT, machine_blank FLOAT, machine_species TEXT, machine_species_confidence FLOAT, 
	CONSTRAINT pk_prediction PRIMARY KEY (id), 
	CONSTRAINT fk_prediction_capture_id FOREIGN KEY(capture_id) REFERENCES capture (id), 
	CONSTRAINT fk_prediction_run_id FOREIGN KEY(run_id) REFERENCES run (id), 
	CONSTRAINT uq_prediction_capture_id_source UNIQUE (capture_id, source)
);
INSERT INTO "prediction" VALUES(1,5,'empty','{"#machine_confidence_empty": "0.9", "#machine_confidence_not_empty": 0.1}',2,'2026-01-05T06:00:00.560977Z',1,NULL,NULL,NULL,0.9,NULL,NULL);
INSERT INTO "prediction" VALUES(2,7,'empty','{"#machine_confidence_empty": "0.9", "#machine_confidence_not_empty": 0.1}',2,'2026-01-05T06:00:00.560977Z',1,NULL,NULL,NULL,0.9,NULL,NULL);
INSERT INTO "prediction" VALUES(3,10,'empty','{"#machine_confidence_empty": "0.9", "#machine_confidence_not_empty": 0.1}',2,'2026-01-05T06:00:00.560977Z',1,NULL,NULL,NULL,0.9,NULL,NULL);
INSERT INTO "prediction" VALUES(4,12,'empty','{"#machine_confidence_empty": "0.9", "#machine_confidence_not_empty": 0.1}',2,'2026-01-05T06:00:00.560977Z',1,NULL,NULL,NULL,0.9,NULL,NULL);
INSERT INTO "prediction" VALUES(5,14,'empty','{"#machine_confidence_empty": "0.9", "#machine_confidence_not_empty": 0.1}',10,'2026-01-05T06:00:06.797414Z',2,NULL,NULL,NULL,0.9,NULL,NULL);
CREATE TABLE prediction_file (
	id INTEGER NOT NULL, 
	season_id INTEGER, 
	batch VARCHAR(120), 
	source VARCHAR(40) NOT NULL, 
	format VARCHAR(40) NOT NULL, 
	path TEXT NOT NULL, 
	threshold FLOAT, 
	settings TEXT NOT NULL, 
	run_id INTEGER, 
	made_at VARCHAR(27) NOT NULL, 
	CONSTRAINT pk_prediction_file PRIMARY KEY (id), 
	CONSTRAINT fk_prediction_file_season_id FOREIGN KEY(season_id) REFERENCES season (id), 
	CONSTRAINT fk_prediction_file_run_id FOREIGN KEY(run_id) REFERENCES run (id)
);
INSERT INTO "prediction_file" VALUES(1,NULL,NULL,'empty','legacy-empty','@ROOT@/empty.json',NULL,'{}',2,'2026-01-05T06:00:00.560567Z');
INSERT INTO "prediction_file" VALUES(2,NULL,NULL,'empty','legacy-empty','@ROOT@/empty.json',NULL,'{}',10,'2026-01-05T06:00:06.797103Z');
CREATE TABLE replaced_prediction (
	id INTEGER NOT NULL, 
	capture_id INTEGER NOT NULL, 
	source VARCHAR(40) NOT NULL, 
	metadata TEXT NOT NULL, 
	replaced_at VARCHAR(27) NOT NULL, 
	CONSTRAINT pk_replaced_prediction PRIMARY KEY (id), 
	CONSTRAINT fk_replaced_prediction_capture_id FOREIGN KEY(capture_id) REFERENCES capture (id)
);
CREATE TABLE run (
	id INTEGER NOT NULL, 
	verb VARCHAR(40) NOT NULL, 
	arguments TEXT NOT NULL, 
	version VARCHAR(40) NOT NULL, 
	username VARCHAR(80) NOT NULL, 
	host VARCHAR(255) NOT NULL, 
	host_id VARCHAR(120) NOT NULL, 
	pid INTEGER NOT NULL, 
	pid_started VARCHAR(40) NOT NULL, 
	slurm_job VARCHAR(40), 
	slurm_task VARCHAR(40), 
	log_file TEXT, 
	started_at VARCHAR(27) NOT NULL, 
	heartbeat_at VARCHAR(27) NOT NULL, 
	stop_requested_at VARCHAR(27), 
	ended_at VARCHAR(27), 
	outcome VARCHAR(16), 
	message TEXT, 
	project_id INTEGER, 
	uploader_id INTEGER, 
	watermark INTEGER, 
	CONSTRAINT pk_run PRIMARY KEY (id)
);
INSERT INTO "run" VALUES(1,'manifest','{"captures_csv": "@ROOT@/first.csv", "manifest_id": "OLD_S1", "update": false}','0.1.0','someone','old-host','gone-boot gone-ns',1001,'1',NULL,NULL,NULL,'2026-01-05T06:00:00.000000Z','2026-01-05T06:00:00.003967Z',NULL,'2026-01-05T06:00:00.003952Z','done',NULL,NULL,NULL,NULL);
INSERT INTO "run" VALUES(2,'predict','{"all_species_scores": false, "batch": null, "files": ["@ROOT@/empty.json"], "season": null}','0.1.0','someone','old-host','gone-boot gone-ns',1002,'1',NULL,NULL,NULL,'2026-01-05T06:00:00.556952Z','2026-01-05T06:00:00.564631Z',NULL,'2026-01-05T06:00:00.564615Z','done',NULL,NULL,NULL,NULL);
INSERT INTO "run" VALUES(3,'batch','{"max_batch_size": null, "number_of_batches": 2, "order": "sequential", "season": "OLD_S1", "seed": 123}','0.1.0','someone','old-host','gone-boot gone-ns',1003,'1',NULL,NULL,NULL,'2026-01-05T06:00:00.876763Z','2026-01-05T06:00:00.884529Z',NULL,'2026-01-05T06:00:00.884515Z','done',NULL,NULL,NULL,NULL);
INSERT INTO "run" VALUES(4,'upload','{"batch": "batch_1", "limit": null, "project_id": 1001, "season": "OLD_S1"}','0.1.0','someone','old-host','gone-boot gone-ns',1004,'1',NULL,NULL,NULL,'2026-01-05T06:00:01.934744Z','2026-01-05T06:00:02.120641Z',NULL,'2026-01-05T06:00:02.120612Z','done',NULL,1001,1,0);
INSERT INTO "run" VALUES(5,'remove','{"capture_ids": ["OLD_S1#B04#1#6"], "foreign": [], "project_id": 1001, "reason": "a test"}','0.1.0','someone','old-host','gone-boot gone-ns',1005,'1',NULL,NULL,NULL,'2026-01-05T06:00:02.810498Z','2026-01-05T06:00:02.826803Z',NULL,'2026-01-05T06:00:02.826783Z','done',NULL,NULL,NULL,NULL);
INSERT INTO "run" VALUES(6,'delete','{"capture_ids": ["OLD_S1#B04#1#9"], "foreign": [], "project_id": 1001, "reason": "a test"}','0.1.0','someone','old-host','gone-boot gone-ns',1006,'1',NULL,NULL,NULL,'2026-01-05T06:00:03.462004Z','2026-01-05T06:00:03.479553Z',NULL,'2026-01-05T06:00:03.479537Z','done',NULL,NULL,NULL,NULL);
INSERT INTO "run" VALUES(7,'upload','{"batch": "batch_2", "limit": null, "project_id": 1001, "season": "OLD_S1"}','0.1.0','someone','old-host','gone-boot gone-ns',1007,'1',NULL,NULL,NULL,'2026-01-05T06:00:04.567089Z','2026-01-05T06:00:04.567089Z',NULL,'2026-01-05T06:00:05.631390Z','lost',NULL,1001,1,100005);
INSERT INTO "run" VALUES(8,'upload','{"batch": "batch_2", "limit": 3, "project_id": 1001, "season": "OLD_S1"}','0.1.0','someone','old-host','gone-boot gone-ns',1008,'1',NULL,NULL,NULL,'2026-01-05T06:00:05.621933Z','2026-01-05T06:00:05.621933Z',NULL,NULL,NULL,NULL,1001,1,100007);
INSERT INTO "run" VALUES(9,'manifest','{"captures_csv": "@ROOT@/captures.csv", "manifest_id": "OLD_S1", "update": false}','0.1.0','someone','old-host','gone-boot gone-ns',1009,'1',NULL,NULL,NULL,'2026-01-05T06:00:06.360976Z','2026-01-05T06:00:06.365189Z',NULL,'2026-01-05T06:00:06.365175Z','done',NULL,NULL,NULL,NULL);
INSERT INTO "run" VALUES(10,'predict','{"all_species_scores": false, "batch": null, "files": ["@ROOT@/empty.json"], "season": null}','0.1.0','someone','old-host','gone-boot gone-ns',1010,'1',NULL,NULL,NULL,'2026-01-05T06:00:06.794483Z','2026-01-05T06:00:06.800045Z',NULL,'2026-01-05T06:00:06.800034Z','done',NULL,NULL,NULL,NULL);
INSERT INTO "run" VALUES(11,'exclude','{"file": "@ROOT@/excluded.txt", "reason": "a test", "where": null, "whole_captures": false}','0.1.0','someone','old-host','gone-boot gone-ns',1011,'1',NULL,NULL,NULL,'2026-01-05T06:00:07.122321Z','2026-01-05T06:00:07.125516Z',NULL,'2026-01-05T06:00:07.125456Z','done',NULL,NULL,NULL,NULL);
CREATE TABLE season (
	id INTEGER NOT NULL, 
	name VARCHAR(120) NOT NULL, 
	attribution TEXT NOT NULL, 
	license TEXT NOT NULL, 
	images_root TEXT, 
	created_at VARCHAR(27) NOT NULL, 
	CONSTRAINT pk_season PRIMARY KEY (id), 
	CONSTRAINT uq_season_name UNIQUE (name)
);
INSERT INTO "season" VALUES(1,'OLD_S1','a','l','@ROOT@/images','2026-01-05T06:00:00.001678Z');
CREATE TABLE state (
	name VARCHAR(16) NOT NULL, 
	rank INTEGER NOT NULL, 
	CONSTRAINT pk_state PRIMARY KEY (name)
);
INSERT INTO "state" VALUES('manifested',0);
INSERT INTO "state" VALUES('predicted',1);
INSERT INTO "state" VALUES('batched',2);
INSERT INTO "state" VALUES('uploading',3);
INSERT INTO "state" VALUES('uploaded',4);
INSERT INTO "state" VALUES('failed',5);
INSERT INTO "state" VALUES('removed',6);
INSERT INTO "state" VALUES('deleted',7);
CREATE TABLE transition (
	source VARCHAR(16) NOT NULL, 
	target VARCHAR(16) NOT NULL, 
	meaning TEXT NOT NULL, 
	CONSTRAINT pk_transition PRIMARY KEY (source, target), 
	CONSTRAINT fk_transition_target FOREIGN KEY(target) REFERENCES state (name)
);
INSERT INTO "transition" VALUES('','manifested','manifest or adopt made the capture known');
INSERT INTO "transition" VALUES('manifested','predicted','predict attached predictions');
INSERT INTO "transition" VALUES('manifested','batched','batch put it into a batch');
INSERT INTO "transition" VALUES('predicted','batched','batch put it into a batch');
INSERT INTO "transition" VALUES('batched','uploading','a run claimed it');
INSERT INTO "transition" VALUES('uploading','batched','the run released it, or was gone and it was recovered');
INSERT INTO "transition" VALUES('uploading','uploaded','subject created, images whole, linked to the subject set');
INSERT INTO "transition" VALUES('uploading','failed','given up, with the reason');
INSERT INTO "transition" VALUES('failed','batched','retry');
INSERT INTO "transition" VALUES('removed','batched','retry');
INSERT INTO "transition" VALUES('deleted','batched','retry');
INSERT INTO "transition" VALUES('uploaded','removed','remove, or reconcile found it unlinked');
INSERT INTO "transition" VALUES('uploaded','deleted','delete, or reconcile found its subject gone');
INSERT INTO "transition" VALUES('removed','deleted','delete, or reconcile found its subject gone');
INSERT INTO "transition" VALUES('failed','deleted','delete of a subject that a failed upload left behind');
INSERT INTO "transition" VALUES('uploaded','batched','reconcile found images missing: to be put again');
INSERT INTO "transition" VALUES('manifested','uploaded','reconcile or adopt found it on Zooniverse');
INSERT INTO "transition" VALUES('predicted','uploaded','reconcile or adopt found it on Zooniverse');
INSERT INTO "transition" VALUES('batched','uploaded','reconcile or adopt found it on Zooniverse');
INSERT INTO "transition" VALUES('failed','uploaded','reconcile found it on Zooniverse');
INSERT INTO "transition" VALUES('removed','uploaded','reconcile found it linked again');
CREATE INDEX ix_run_ended_at ON run (ended_at);
CREATE INDEX ix_capture_work ON capture (season_id, batch_id, state, excluded, id);
CREATE INDEX ix_capture_order ON capture (season_id, season, site, roll, capture_number);
CREATE INDEX ix_event_capture_id ON event (capture_id);
CREATE INDEX ix_event_run_id_target ON event (run_id, target);
CREATE TRIGGER capture_new BEFORE INSERT ON capture WHEN NOT EXISTS (SELECT 1 FROM transition WHERE source = '' AND target = NEW.state) OR EXISTS (SELECT 1 FROM capture WHERE capture_id = NEW.capture_id) OR EXISTS (SELECT 1 FROM capture WHERE id = NEW.id) OR EXISTS (SELECT 1 FROM capture WHERE subject_id = NEW.subject_id) BEGIN SELECT RAISE(ABORT, 'ctstate: a new capture must be manifested and have an id of its own'); END;
CREATE TRIGGER capture_move BEFORE UPDATE OF state ON capture WHEN NEW.state IS NOT OLD.state AND NOT EXISTS (SELECT 1 FROM transition WHERE source = OLD.state AND target = NEW.state) BEGIN SELECT RAISE(ABORT, 'ctstate: the state machine does not know that move (see the table transition)'); END;
CREATE TRIGGER capture_identity BEFORE UPDATE OF id, capture_id ON capture WHEN NEW.id IS NOT OLD.id OR NEW.capture_id IS NOT OLD.capture_id BEGIN SELECT RAISE(ABORT, 'ctstate: the id of a capture never changes'); END;
CREATE TRIGGER capture_stays BEFORE DELETE ON capture BEGIN SELECT RAISE(ABORT, 'ctstate: captures are never deleted, only excluded or moved'); END;
CREATE TRIGGER capture_made AFTER INSERT ON capture BEGIN INSERT INTO event (capture_id, at, source, target, run_id, subject_id, reason) VALUES (NEW.id, NEW.moved_at, NULL, NEW.state, NEW.run_id, NEW.subject_id, NEW.reason); END;
CREATE TRIGGER capture_moved AFTER UPDATE OF state ON capture WHEN NEW.state IS NOT OLD.state BEGIN INSERT INTO event (capture_id, at, source, target, run_id, subject_id, reason)
VALUES (NEW.id,
        CASE WHEN NEW.moved_at IS OLD.moved_at THEN strftime('%Y-%m-%dT%H:%M:%fZ', 'now') ELSE NEW.moved_at END,
        OLD.state, NEW.state,
        CASE WHEN NEW.moved_at IS OLD.moved_at THEN NULL ELSE NEW.run_id END,
        NEW.subject_id,
        CASE WHEN NEW.moved_at IS OLD.moved_at THEN 'moved outside ctstate' ELSE NEW.reason END); END;
CREATE TRIGGER event_update BEFORE UPDATE ON event BEGIN SELECT RAISE(ABORT, 'ctstate: history is append-only'); END;
CREATE TRIGGER event_delete BEFORE DELETE ON event BEGIN SELECT RAISE(ABORT, 'ctstate: history is append-only'); END;
CREATE TRIGGER event_replace BEFORE INSERT ON event WHEN EXISTS (SELECT 1 FROM event WHERE id = NEW.id) BEGIN SELECT RAISE(ABORT, 'ctstate: history is append-only'); END;
CREATE TRIGGER state_insert BEFORE INSERT ON state BEGIN SELECT RAISE(ABORT, 'ctstate: the state machine is changed by migrations only'); END;
CREATE TRIGGER state_update BEFORE UPDATE ON state BEGIN SELECT RAISE(ABORT, 'ctstate: the state machine is changed by migrations only'); END;
CREATE TRIGGER state_delete BEFORE DELETE ON state BEGIN SELECT RAISE(ABORT, 'ctstate: the state machine is changed by migrations only'); END;
CREATE TRIGGER transition_insert BEFORE INSERT ON transition BEGIN SELECT RAISE(ABORT, 'ctstate: the state machine is changed by migrations only'); END;
CREATE TRIGGER transition_update BEFORE UPDATE ON transition BEGIN SELECT RAISE(ABORT, 'ctstate: the state machine is changed by migrations only'); END;
CREATE TRIGGER transition_delete BEFORE DELETE ON transition BEGIN SELECT RAISE(ABORT, 'ctstate: the state machine is changed by migrations only'); END;
CREATE VIEW v_images AS SELECT c.capture_id, s.name AS season, c.site, c.roll, i.rank, i.path, i.problem, i.problem_reason,
       i.md5, i.bytes, i.note, i.arrived_at, c.state, c.subject_id
FROM image i JOIN capture c ON c.id = i.capture_id JOIN season s ON s.id = c.season_id;
CREATE VIEW v_progress AS SELECT s.name AS season, b.name AS batch, c.site,
       count(*) AS captures,
       sum(CASE WHEN c.excluded IS NOT NULL AND c.subject_id IS NULL THEN 1 ELSE 0 END) AS excluded,
       sum(CASE WHEN c.excluded IS NULL AND c.state IN ('manifested', 'predicted', 'batched', 'uploading')
           THEN 1 ELSE 0 END) AS pending,
       sum(CASE WHEN c.state = 'uploaded' THEN 1 ELSE 0 END) AS uploaded,
       sum(CASE WHEN c.state = 'failed' THEN 1 ELSE 0 END) AS failed,
       sum(CASE WHEN c.state = 'removed' THEN 1 ELSE 0 END) AS removed,
       sum(CASE WHEN c.state = 'deleted' THEN 1 ELSE 0 END) AS deleted
FROM capture c JOIN season s ON s.id = c.season_id LEFT JOIN batch b ON b.id = c.batch_id
GROUP BY s.name, b.name, c.site;
CREATE VIEW v_failures AS SELECT s.name AS season, b.name AS batch, c.site, c.capture_id, c.subject_id, c.reason, c.moved_at, c.run_id
FROM capture c JOIN season s ON s.id = c.season_id LEFT JOIN batch b ON b.id = c.batch_id
WHERE c.state = 'failed';
CREATE VIEW v_runs AS SELECT r.id AS run_id, r.verb, r.outcome, r.started_at, r.heartbeat_at, r.ended_at, r.host, r.pid,
       r.slurm_job, r.slurm_task, r.username, r.version, r.log_file, r.arguments, r.message,
       (SELECT count(*) FROM event e WHERE e.run_id = r.id AND e.target = 'uploaded') AS uploaded,
       (SELECT count(*) FROM event e WHERE e.run_id = r.id AND e.target = 'failed') AS failed
FROM run r;
CREATE VIEW v_events AS SELECT c.capture_id, s.name AS season, e.at, e.source, e.target, e.run_id, r.verb, e.subject_id, e.reason, e.id
FROM event e JOIN capture c ON c.id = e.capture_id JOIN season s ON s.id = c.season_id
     LEFT JOIN run r ON r.id = e.run_id;
CREATE VIEW v_captures AS SELECT c.capture_id, s.name AS season, c.season AS capture_season, c.site, c.roll, c.capture,
       c.state, b.name AS batch, c.subject_id, b.project_id, b.subject_set_id, b.subject_set_name,
       (SELECT count(*) FROM image i WHERE i.capture_id = c.id AND i.problem IS NULL) AS images,
       (SELECT count(*) FROM image i WHERE i.capture_id = c.id AND i.problem IS NOT NULL) AS images_left_out,
       c.excluded, c.reason, c.moved_at, c.run_id, c.ambiguous_at, c.metadata,
       (SELECT count(*) FROM prediction p WHERE p.capture_id = c.id) AS predictions,
       (SELECT max(p.machine_animal) FROM prediction p WHERE p.capture_id = c.id) AS machine_animal,
       (SELECT max(p.machine_person) FROM prediction p WHERE p.capture_id = c.id) AS machine_person,
       (SELECT max(p.machine_vehicle) FROM prediction p WHERE p.capture_id = c.id) AS machine_vehicle,
       (SELECT max(p.machine_blank) FROM prediction p WHERE p.capture_id = c.id) AS machine_blank,
       (SELECT p.machine_species FROM prediction p WHERE p.capture_id = c.id AND p.machine_species IS NOT NULL
 ORDER BY p.machine_species_confidence DESC, p.id LIMIT 1) AS machine_species,
       (SELECT max(p.machine_species_confidence) FROM prediction p WHERE p.capture_id = c.id) AS machine_species_confidence,
       c.rule,
       c.metadata_pending
FROM capture c JOIN season s ON s.id = c.season_id LEFT JOIN batch b ON b.id = c.batch_id;
CREATE INDEX ix_replaced_prediction_capture_id ON replaced_prediction (capture_id);
CREATE TRIGGER prediction_updated AFTER UPDATE OF metadata ON prediction
WHEN OLD.metadata <> NEW.metadata AND EXISTS (SELECT 1 FROM capture c WHERE c.id = OLD.capture_id AND (c.subject_id IS NOT NULL OR c.create_sent_at IS NOT NULL OR c.state = 'uploading'))
BEGIN
    INSERT INTO replaced_prediction (capture_id, source, metadata, replaced_at)
    VALUES (OLD.capture_id, OLD.source, OLD.metadata, strftime('%Y-%m-%dT%H:%M:%fZ', 'now'));
END;
CREATE TRIGGER prediction_removed AFTER DELETE ON prediction
WHEN EXISTS (SELECT 1 FROM capture c WHERE c.id = OLD.capture_id AND (c.subject_id IS NOT NULL OR c.create_sent_at IS NOT NULL OR c.state = 'uploading'))
BEGIN
    INSERT INTO replaced_prediction (capture_id, source, metadata, replaced_at)
    VALUES (OLD.capture_id, OLD.source, OLD.metadata, strftime('%Y-%m-%dT%H:%M:%fZ', 'now'));
END;
CREATE TRIGGER prediction_replaced BEFORE INSERT ON prediction
WHEN EXISTS (SELECT 1 FROM capture c WHERE c.id = NEW.capture_id AND (c.subject_id IS NOT NULL OR c.create_sent_at IS NOT NULL OR c.state = 'uploading'))
BEGIN
    INSERT INTO replaced_prediction (capture_id, source, metadata, replaced_at)
    SELECT p.capture_id, p.source, p.metadata, strftime('%Y-%m-%dT%H:%M:%fZ', 'now') FROM prediction p
    WHERE p.capture_id = NEW.capture_id AND p.source = NEW.source AND p.metadata <> NEW.metadata;
END;
CREATE VIEW v_classifications AS SELECT c.capture_id, s.name AS season, c.site, c.roll, b.name AS batch, c.state, c.subject_id,
       k.workflow_id, k.classifications_count, k.retired_at, k.retirement_reason, k.seen_at
FROM classification_status k JOIN capture c ON c.id = k.capture_id AND c.subject_id = k.subject_id
JOIN season s ON s.id = c.season_id LEFT JOIN batch b ON b.id = c.batch_id;
COMMIT;
